using System.CommandLine;
using Lincow.Cli.Output;
using Lincow.Operations;
using Lincow.Serving.Attach;

namespace Lincow.Cli.Commands;

internal static class CheckCommand
{
    public static Command Build()
    {
        var overlay = Options.Overlay();
        var map = Options.Map();
        var repair = new Option<bool>("--repair") { Description = "Rebuild what is damaged from its sound twin" };
        var quiet = Options.Quiet();
        var acceptMap = Options.AcceptMap();
        var origin = Options.StoreOrigin();
        var json = Options.Json();
        var command = new Command("check",
            "Examine an overlay: superblocks, every map page, lengths, left-over data. Exit status 3 when damage is found (and not "
                + "repaired).")
        {
            overlay, map, repair, acceptMap, origin, quiet, json,
        };
        command.SetAction(result =>
        {
            CheckReport report;
            if (result.GetValue(repair))
                WaitingDevice.Refuse(result.GetValue(overlay), result.GetValue(map));
            try
            {
                report = ProgressLine.Run(result.GetValue(quiet), progress =>
                    OverlayCheck.Run(result.GetValue(overlay)!, result.GetValue(map), result.GetValue(repair), result.GetValue(acceptMap),
                        result.GetValue(origin), progress));
            }
            catch (LincowException e) when (e.Error.Kind == LincowErrorKind.Damaged)
            {
                CommandRunner.Error(ErrorText.Of(e));
                return CommandRunner.DamageFound;
            }
            report = report with { Findings = [.. report.Findings.Select(InWords)] };
            if (result.GetValue(json))
                Json.Write(report, Json.Default.CheckReport);
            else
                Print(report, result.GetValue(quiet));
            return report.IsDamaged ? CommandRunner.DamageFound : 0;
        });
        return command.WithExamples("""
              lincow check work.cow
              lincow check work.cow --repair
              lincow check work.cow --json | jq .findings
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
        Console.Out.WriteLine($"{Printable.Text(report.Overlay)}: {report.PagesChecked} pages of metadata checked, {outcome}");
    }
}
