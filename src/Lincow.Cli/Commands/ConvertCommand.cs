using System.CommandLine;
using Lincow.Cli.Output;
using Lincow.Conversion;
using Lincow.Serving.Attach;
using Lincow.Serving.Qcow2;

namespace Lincow.Cli.Commands;

internal static class ConvertCommand
{
    private static readonly IChangeFormat[] Formats = [.. StoreChangeFormat.All, new UmlCowFormat(), new Qcow2Format()];

    public static Command Build()
    {
        var source = new Argument<string>("SOURCE")
        {
            Description =
            "What to convert: an overlay, a dm-snapshot store, a COW file of User-mode Linux, or a qcow2 overlay; its content says which"
        };
        var destination = new Argument<string>("DESTINATION") { Description = "Path of the new one: a new file, or a block device" };
        var origin = Options.Origin("The source's origin, if it names none (dm-snapshot), was moved, or is not beside the source: a path, "
            + "or zero:SIZE");
        var to = Options.OneOf("--to", Formats.Select(format => format.Name),
            "Format of DESTINATION [default: what its name ends with, else linear]");
        var chunk = Options.Size("--chunk", "Chunk size of DESTINATION, clusters for qcow2 [default: the source's, at least 4K]");
        var acceptOrigin = Options.AcceptOrigin();
        var ignoreHoles = Options.IgnoreHoles();
        var force = new Option<bool>("--force") { Description = "Replace what is at DESTINATION" };
        var quiet = Options.Quiet();
        var json = Options.Json();
        var command = new Command("convert",
            "Convert between linear overlays, dm-snapshot stores, COW files of User-mode Linux and qcow2 overlays. Only changes are "
                + "copied, and all are read back.")
        {
            source, destination, origin, to, chunk, acceptOrigin, ignoreHoles, force, quiet, json,
        };
        command.SetAction(result =>
        {
            var options = new ConvertOptions
            {
                Source = result.GetValue(source)!,
                Destination = result.GetValue(destination)!,
                Origin = result.GetValue(origin),
                To = result.GetValue(to),
                ChunkBytes = result.GetValue(chunk),
                AcceptOrigin = result.GetValue(acceptOrigin),
                IgnoreHoles = result.GetValue(ignoreHoles),
                Force = result.GetValue(force),
            };
            // What is asked of the one meanwhile isn't in it yet; of the other it would be written over what is made.
            WaitingDevice.Refuse(options.Source);
            WaitingDevice.Refuse(options.Destination);
            var report = Run(options, result.GetValue(quiet));
            if (result.GetValue(json))
                Json.Write(report, Json.Default.ConvertReport);
            else if (!result.GetValue(quiet))
                Print(report);
            return 0;
        });
        return command.WithExamples("""
              lincow convert /dev/vg/cow work.cow --origin /dev/vg/golden     # a snapshot of the kernel's, taken out of use
              lincow convert work.cow snap.img --to snapshot --chunk 16K      # and back: a store for dmsetup
              lincow convert vm.cow work.cow                                  # a COW file of User-mode Linux
              lincow convert work.qcow2 work.cow --origin /images/golden.img
              lincow convert work.cow work.qcow2
            """);
    }

    private static ConvertReport Run(ConvertOptions options, bool quiet)
    {
        // So that nothing half done is left.
        using var interruption = Signals.Interruptible();
        try
        {
            return ProgressLine.Run(quiet, progress => new OverlayConverter(Formats, progress, interruption.Token).Run(options));
        }
        // What Ctrl-C ended beside it, in the same terminal, may be what it failed of.
        catch (Exception e) when (e is OperationCanceledException || e is LincowException && interruption.Token.IsCancellationRequested)
        {
            throw new CommandException($"{options.Destination}: the conversion was interrupted, and nothing of it was left there. "
                + "Start it again", e);
        }
    }

    private static void Print(ConvertReport report) => Console.Out.WriteLine(Printable.Text(
        $"converted {report.Source} ({report.SourceFormat}) to {report.Destination} ({report.DestinationFormat}, chunks of "
            + $"{SizeText.Format(report.ChunkSize)}): {SizeText.Format(report.DataBytes)} of data"
        + (report.ZeroBytes > 0 ? $" and {SizeText.Format(report.ZeroBytes)} of zeroes" : "")
            + $" over {report.Origin}, read back and equal"));
}
