using System.CommandLine;
using Lincow.Overlays;

namespace Lincow.Cli.Commands;

internal static class ResetCommand
{
    public static Command Build()
    {
        var overlay = Options.Overlay();
        var map = Options.Map();
        var quiet = Options.Quiet();
        var acceptMap = Options.AcceptMap();
        var json = Options.Json();
        var command = new Command("reset", "Take an overlay back to its origin, in constant time. What was written is gone for good.") { overlay, map, acceptMap, quiet, json };
        command.SetAction(result =>
        {
            var path = result.GetValue(overlay)!;
            var isReturned = OverlayReset.Reset(path, result.GetValue(map), result.GetValue(acceptMap));
            if (result.GetValue(json))
                Json.Write(new ResetReport(Path.GetFullPath(path), isReturned), Json.Default.ResetReport);
            else if (!result.GetValue(quiet))
                Console.Out.WriteLine($"reset {Printable.Text(path)}: it shows its origin again{(isReturned ? "" : "; the rest of its space is given back while it is next served")}");
            return 0;
        });
        return command.WithExamples("""
              lincow reset work.cow
              for f in lab-*.cow; do lincow reset "$f"; done
            """);
    }
}
