using System.CommandLine;
using Lincow.Overlays;
using Spectre.Console;

namespace Lincow.Cli.Commands;

internal static class InfoCommand
{
    public static Command Build()
    {
        var overlay = Options.Overlay();
        var map = Options.Map();
        var acceptMap = Options.AcceptMap();
        var json = Options.Json();
        var command = new Command("info", "Show what an overlay is: origin, sizes, layout, shift, map, and how many chunks are in each state.") { overlay, map, acceptMap, json };
        command.SetAction(result =>
        {
            var info = OverlayInfo.Read(result.GetValue(overlay)!, result.GetValue(map), result.GetValue(acceptMap));
            if (result.GetValue(json))
                Json.Write(info, Json.Default.OverlayInfo);
            else
                Print(info);
            return 0;
        });
        return command.WithExamples("""
              lincow info work.cow
              lincow info work.cow --json | jq .chunks.data
            """);
    }

    private static void Print(OverlayInfo info)
    {
        var percent = 100.0 * info.MapBytes / info.Size;
        Row("overlay", info.Overlay);
        Row("uuid", info.Uuid);
        Row("origin", $"{info.Origin.Uri} ({SizeText.Format(info.Origin.Size)}{(info.Origin.Present ? "" : ", missing")})");
        Row("size", $"{SizeText.Format(info.Size)} ({info.Size} bytes){(info.MaxSize > info.Size ? $", room to grow to {SizeText.Format(info.MaxSize)}" : "")}");
        Row("chunk size", SizeText.Format(info.ChunkSize));
        Row("store", $"{info.Store}, map {(info.Layout == "front" ? "in front of the data" : "apart")}, {info.Mode}");
        Row("data", $"{info.DataPath}, shift {SizeText.Format(info.DataOffset)} ({info.DataOffset} bytes)");
        Row("map", $"{info.MapPath} at byte {info.MapOffset}, {SizeText.Format(info.MapBytes)} ({info.MapBytes} bytes, {percent:0.####} % of the device)");
        Row("chunks", $"{info.Chunks.Data} data, {info.Chunks.Zero} zero, {info.Chunks.Origin} origin, {info.Chunks.Total} in all");
        if (info.AllocatedBytes is { } allocated)
            Row("space used", SizeText.Format(allocated));
        Row("generation", info.Generation.ToString(System.Globalization.CultureInfo.InvariantCulture));
        Row("state", info.InUseBy is { } user ? $"in use by {user}; shown as of its last flush" : info.Clean ? "clean" : "not closed cleanly; the next open mends it");
        if (info.DamagedPages > 0)
            Row("damage", $"{info.DamagedPages} map pages; run 'lincow check'");
    }

    private static void Row(string label, string value) => AnsiConsole.Profile.Out.Writer.WriteLine($"{label + ":",-12} {Printable.Text(value)}");
}
