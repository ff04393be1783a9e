using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using Lincow.Bench.Reporting;
using Lincow.Bench.Running;
using Lincow.Bench.Subjects;
using Lincow.Bench.Workloads;

namespace Lincow.Bench;

/// <summary>Options, the run, and the files that it leaves.</summary>
internal static class CompareCommand
{
    private const int Rounds = 3, QuickRounds = 1;
    private const double Seconds = 2, QuickSeconds = 1;
    private const int Interrupted = 130;

    public static RootCommand Build()
    {
        var quick = new Option<bool>("--quick")
        {
            Description = "One round of a second for each cell, and fewer subjects and rows: a look, not a "
                + "result"
        };
        var rows = new Option<string?>("--rows")
        {
            Description = "Only these rows: names with * and ?, or words of titles, separated by commas",
            HelpName = "PATTERN"
        };
        var subjects = new Option<string?>("--subjects")
        {
            Description = "Only these subjects: names with * and ?, separated by commas",
            HelpName = "PATTERN"
        };
        var rounds = new Option<int?>("--rounds") { Description = $"How often each cell is measured [default: {Rounds}]", HelpName = "N" };
        var seconds = new Option<double?>("--seconds")
        {
            Description = $"How long each cell is measured [default: {Seconds}]",
            HelpName = "S"
        };
        var output = new Option<string>("--output")
        {
            Description = "Where bench-results.json, .md and .svg go",
            HelpName = "DIR",
            DefaultValueFactory = _ => "."
        };
        var work = new Option<string?>("--work")
        {
            Description = "A directory on the disk to measure, with 6 GiB free [default: $TMPDIR, or "
                + "/var/tmp]",
            HelpName = "DIR"
        };
        var list = new Option<bool>("--list") { Description = "Name the rows and the subjects, and measure nothing" };
        var command = new RootCommand("./bench: compare lincow with its peers: same origin, same disk, same client.") { quick, rows,
            subjects, rounds, seconds, output, work, list };
        command.SetAction(result =>
        {
            var isQuick = result.GetValue(quick);
            var settings = new BenchSettings(isQuick, result.GetValue(rounds) ?? (isQuick ? QuickRounds : Rounds),
                result.GetValue(seconds) ?? (isQuick ? QuickSeconds : Seconds),
                result.GetValue(rows), result.GetValue(subjects));
            if (settings.Rounds < 1 || settings.Seconds <= 0)
                return Fail("--rounds and --seconds have to be positive", status: 2);
            return result.GetValue(list) ? List() : Guarded(settings, result.GetValue(output)!, result.GetValue(work));
        });
        return command;
    }

    private static int Guarded(BenchSettings settings, string output, string? work)
    {
        using var stop = new CancellationTokenSource();
        // The first signal ends what is being measured, so that servers and files are cleaned away; a second one ends this program at once.
        void Signalled(PosixSignalContext context)
        {
            context.Cancel = !stop.IsCancellationRequested;
            stop.Cancel();
        }
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Signalled);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Signalled);
        try
        {
            return Run(settings, output, work, stop.Token);
        }
        catch (OperationCanceledException)
        {
            return Fail("interrupted", Interrupted);
        }
        catch (Exception e) when (e is BenchException or IOException or UnauthorizedAccessException)
        {
            return Fail(e.Message, status: 1);
        }
    }

    private static int Run(BenchSettings settings, string output, string? workParent, CancellationToken stop)
    {
        var shown = settings.Choose(AllRows.Rows);
        if (shown.Count == 0)
            return Fail($"no row is named '{settings.RowPattern}'; --list names them", status: 2);
        var lincow = FindLincow();
        var started = DateTimeOffset.Now;
        Directory.CreateDirectory(output);
        using var work = new Workspace(workParent, stop);
        var disturbance = new Disturbance();
        var machine = MachineFacts.Gather(work.Directory, lincow);
        Console.Error.WriteLine($"making the origin in {work.Directory} ...");
        work.MakeOrigin();
        var results = Runner.Run(work, settings, new AllSubjects(lincow), lincow, shown, stop);
        foreach (var sentence in disturbance.Notes())
            results.Note(sentence);
        var summaries = shown.Select(row => RowSummary.Of(row, results)).ToList();
        var report = new Report(summaries, machine, results.Notes);
        File.WriteAllText(Path.Combine(output, "bench-results.json"),
            JsonReport.Write(started, machine, settings, summaries, results.Notes));
        File.WriteAllText(Path.Combine(output, "bench-results.md"), report.ToMarkdown());
        File.WriteAllText(Path.Combine(output, "bench-results.svg"), SvgChart.Draw(summaries));
        report.WriteToConsole();
        Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"took {(DateTimeOffset.Now - started).TotalMinutes:0.0} minutes; bench-results.json, .md and .svg are in "
                + $"{Path.GetFullPath(output)}"));
        return summaries.Any(row => row.Cells.Any(cell => cell.Subject.Role == Role.Lincow && cell.Failure is not null)) ? 1 : 0;
    }

    private static int List()
    {
        foreach (var row in AllRows.Rows)
            Console.Out.WriteLine($"row      {row.Id,-20} {row.Title.Trim()}");
        foreach (var subject in new AllSubjects("lincow").List)
            Console.Out.WriteLine($"subject  {subject.Name,-20} {subject.Role.ToString().ToLowerInvariant()}");
        return 0;
    }

    private static string FindLincow() => Environment.GetEnvironmentVariable("LINCOW_BINARY") is { Length: > 0 } binary
        ? File.Exists(binary) ? Path.GetFullPath(binary) : throw new BenchException($"{binary}, which LINCOW_BINARY names, is not there")
        : throw new BenchException("LINCOW_BINARY doesn't name the lincow to measure; ./bench sets it");

    private static int Fail(string message, int status)
    {
        Console.Error.WriteLine("bench: " + message);
        return status;
    }
}
