using System.CommandLine;
using Lincow.Cli.Output;
using Lincow.Operations;
using Lincow.Serving.Attach;

namespace Lincow.Cli.Commands;

internal static class CommitCommand
{
    public static Command Build()
    {
        var overlay = new OverlayArguments();
        var quiet = Options.Quiet();
        var json = Options.Json();
        var command = new Command("commit",
            "Write what an overlay holds back into its origin, after which it is empty. The device reads the same at every moment; a "
                + "commit that was cut off is run again.");
        overlay.AddTo(command);
        command.Add(quiet);
        command.Add(json);
        command.SetAction(result =>
        {
            var options = overlay.Read(result);
            WaitingDevice.Refuse(options.Overlay, options.Map);
            using var interruption = Signals.Interruptible();
            var report = ProgressLine.Run(result.GetValue(quiet), progress => OverlayCommit.Run(options, progress, interruption.Token));
            if (result.GetValue(json))
                Json.Write(report, Json.Default.CommitReport);
            else if (!result.GetValue(quiet))
                Console.Out.WriteLine(Printable.Text($"committed {report.Overlay}: {report.Chunks} chunks, "
                    + $"{SizeText.Format(report.Bytes)}, are in {report.Origin} now; the overlay is empty"));
            return 0;
        });
        return command.WithExamples("""
              lincow commit work.cow                         # other overlays of the same origin would see the change: there must be none
              lincow commit /dev/vg/cow --origin /dev/vg/base --json
            """);
    }
}
