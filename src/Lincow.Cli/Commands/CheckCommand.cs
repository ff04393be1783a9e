using System.CommandLine;
using Lincow.Cli.Output;
using Lincow.Operations;
using Lincow.Serving.Attach;

namespace Lincow.Cli.Commands;

internal static class CheckCommand
{
    public static Command Build()
    {
        var overlays = Options.Overlays();
        var map = Options.Map();
        var repair = new Option<bool>("--repair") { Description = "Rebuild what is damaged from its sound twin" };
        var quiet = Options.Quiet();
        var acceptMap = Options.AcceptMap();
        var origin = Options.StoreOrigin();
        var json = Options.Json();
        var command = new Command("check",
            "Examine overlays: superblocks, every map page, lengths, left-over data. Exit status 3 when damage is found (and not "
                + "repaired).")
        {
            overlays, map, repair, acceptMap, origin, quiet, json,
        };
        command.SetAction(result =>
        {
            var paths = Several.Of(result.GetValue(overlays)!, result.GetValue(map), result.GetValue(origin));
            var reports = new List<CheckReport>();
            var several = Several.Run(paths, path =>
            {
                if (result.GetValue(repair))
                    WaitingDevice.Refuse(path, result.GetValue(map));
                var report = ProgressLine.Run(result.GetValue(quiet), progress => OverlayCheck.Run(path, result.GetValue(map),
                    result.GetValue(repair), result.GetValue(acceptMap), result.GetValue(origin), progress));
                report = report with { Findings = [.. report.Findings.Select(InWords)] };
                reports.Add(report);
                if (!result.GetValue(json))
                    Print(report, result.GetValue(quiet));
            });
            if (result.GetValue(json))
                Several.WriteJson(reports, paths.Length, Json.Default.CheckReport, Json.Default.ListCheckReport);
            // What keeps an overlay from being opened may be damage, too.
            var isDamaged = several.IsDamageAmong || reports.Exists(report => report.IsDamaged);
            return several.End(isDamaged ? CommandRunner.DamageFound : null);
        });
        return command.WithExamples("""
              lincow check work.cow
              lincow check work.cow --repair
              lincow check work.cow --json | jq .findings
              lincow check lab-*.cow --quiet || echo "not all are sound"
            """);
    }

    private static CheckFinding InWords(CheckFinding finding) =>
        finding.Error is { } error ? finding with { Problem = ErrorText.Of(error) } : finding;

    private static void Print(CheckReport report, bool quiet)
    {
        foreach (var finding in report.Findings)
        {
            var range = finding.DeviceStart < 0 ? "" : $", device bytes {finding.DeviceStart} to {finding.DeviceEnd - 1}";
            Console.Out.WriteLine(Printable.Text($"{(finding.Repaired ? "repaired" : "damaged")}: {finding.File} at byte "
                + $"{finding.Offset}{range}: {finding.Problem}"));
        }
        if (quiet)
            return;
        if (!report.Clean)
            Console.Out.WriteLine("not closed cleanly: everything that was flushed is there, and the next open mends the rest");
        if (report.UnfinishedCommit)
            Console.Out.WriteLine(ErrorText.CommitUnfinished);
        if (report.StaleBytes > 0)
            Console.Out.WriteLine($"{SizeText.Format(report.StaleBytes)} of left-over data that the map doesn't point at: harmless");
        var repaired = report.Findings.Count(finding => finding.Repaired);
        var left = report.Findings.Count - repaired;
        var canRepair = report.Findings.Any(finding => finding is { Repaired: false, Repairable: true });
        var outcome = left > 0 ? $"{left} damaged{(canRepair ? "; 'lincow check --repair' mends what has a sound twin" : "")}"
            : repaired > 0 ? $"{repaired} repaired" : "no damage";
        var pages = report.PagesChecked == 1 ? "page" : "pages";
        var extent = report.PagesChecked == 0 ? "its head checked; behind it there is nothing to check yet"
            : $"its head and {report.PagesChecked} {pages} of metadata checked";
        Console.Out.WriteLine($"{Printable.Text(report.Overlay)}: {extent}; {outcome}");
    }
}
