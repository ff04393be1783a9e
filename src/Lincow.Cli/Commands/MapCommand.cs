using System.CommandLine;
using System.Text.Json;
using Lincow.Cli.Output;
using Lincow.Linux;
using Lincow.Operations;

namespace Lincow.Cli.Commands;

internal static class MapCommand
{
    private const int FlushBytes = 64 << 10;

    public static Command Build()
    {
        var overlay = new OverlayArguments();
        var image = new Option<string?>("--image")
        {
            Description =
            "Draw it: an SVG that shows where each place of the device lies in the store",
            HelpName = "FILE.svg"
        };
        var json = Options.Json();
        var command = new Command("map", "Show where each range of the device comes from; the JSON has the fields of 'qemu-img map'.");
        overlay.AddTo(command);
        command.Add(image);
        command.Add(json);
        command.SetAction(result =>
        {
            var options = overlay.Read(result);
            if (result.GetValue(image) is { } path)
                MapPicture.Draw(options, path);
            if (result.GetValue(json))
                PrintJson(options);
            else if (result.GetValue(image) is null)
                PrintText(options);
            return 0;
        });
        return command.WithExamples("""
              lincow map work.cow
              lincow map work.cow --image work.svg
              lincow map work.cow --json | jq '[.[] | select(.depth == 0)]'   # what the overlay holds
            """);
    }

    private static void PrintText(OverlayOptions options)
    {
        // Ranges that read as zeroes have no place in a file, so they are not listed: as qemu-img does it.
        var isFirst = true;
        OverlayMap.ForEach(options, range =>
        {
            // Behind the opening: when that fails, nothing has been printed.
            if (isFirst)
                Console.Out.WriteLine($"{"Offset",-16}{"Length",-16}{"Mapped to",-16}File");
            isFirst = false;
            if (range.Data)
                Console.Out.WriteLine($"{Hex(range.Start),-16}{Hex(range.Length),-16}{Hex(range.Offset!.Value),-16}"
                    + Printable.Text(range.Filename!));
        });
    }

    private static string Hex(long value) => value == 0 ? "0" : "0x"
        + value.ToString("x", System.Globalization.CultureInfo.InvariantCulture);

    private static void PrintJson(OverlayOptions options)
    {
        using var stream = new OutputStream(1);
        using var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = false });
        var isFirst = true;
        OverlayMap.ForEach(options, range =>
        {
            if (isFirst)
                writer.WriteStartArray();
            isFirst = false;
            WriteRange(writer, range);
            if (writer.BytesPending > FlushBytes)
                writer.Flush();
        });
        writer.WriteEndArray();
        writer.Flush();
        stream.Write("\n"u8);
    }

    private static void WriteRange(Utf8JsonWriter writer, MapRange range)
    {
        writer.WriteStartObject();
        writer.WriteNumber("start", range.Start);
        writer.WriteNumber("length", range.Length);
        writer.WriteNumber("depth", range.Depth);
        writer.WriteBoolean("present", range.Present);
        writer.WriteBoolean("zero", range.Zero);
        writer.WriteBoolean("data", range.Data);
        if (range.Offset is { } offset)
        {
            writer.WriteNumber("offset", offset);
            writer.WriteString("filename", range.Filename);
        }
        writer.WriteEndObject();
    }
}
