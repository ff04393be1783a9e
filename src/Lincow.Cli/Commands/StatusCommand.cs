using System.CommandLine;
using System.Globalization;
using Lincow.Operations;
using Lincow.Serving.Control;
using Lincow.Serving.Exports;

namespace Lincow.Cli.Commands;

internal static class StatusCommand
{
    public static Command Build()
    {
        var target = new Argument<string?>("OVERLAY|DEVICE")
        {
            Description = "Only this overlay or device",
            Arity = ArgumentArity.ZeroOrOne
        };
        var dm = new Option<bool>("--dm")
        {
            Description =
            "Print the line of 'dmsetup status' for each device: 0 SECTORS TARGET ALLOCATED/TOTAL METADATA, in sectors"
        };
        var json = Options.Json();
        var command = new Command("status",
            "What is being served by processes of this user, with counters; also what dead ones left behind.") { target, dm, json };
        command.SetAction(result =>
        {
            var wanted = result.GetValue(target);
            var found = Servers.Find(wanted);
            if (found.Count == 0 && wanted is not null)
                throw new CommandException($"{wanted}: nobody serves it");
            // All at once: each that doesn't answer is waited for.
            var questions = found.GroupBy(export => export.Server.Record.Id)
                .Select(exports => Task.Factory.StartNew(() => Report([.. exports]), CancellationToken.None,
                TaskCreationOptions.LongRunning, TaskScheduler.Default)).ToList();
            var reports = questions.SelectMany(question => question.GetAwaiter().GetResult()).ToList();
            if (result.GetValue(dm))
                PrintDm(reports, wanted);
            else if (result.GetValue(json))
                Json.Write(reports, Json.Default.ListStatusReport);
            else
                reports.ForEach(Print);
            return 0;
        });
        return command.WithExamples("""
              lincow status
              lincow status work.cow --json
              lincow status /dev/loop3
              lincow status work.snap --dm
            """);
    }

    private static List<StatusReport> Report(List<FoundExport> exports)
    {
        var server = exports[0].Server;
        var reply = server.IsAlive ? ControlClient.Ask(server.Record, new ControlRequest(ControlRequest.Status), Servers.Patience) : null;
        return exports.ConvertAll(found =>
            new StatusReport(server.Record.Pid, server.Record.Command, server.Record.Since, !server.IsAlive, found.Export.Name,
                found.Export.Overlay,
            found.Export.Origin, found.Export.SizeBytes, found.Export.ReadOnly, found.Export.Uris, found.Export.Via, found.Export.Device,
                found.Export.File, found.Export.Link,
            reply is null ? null : CountersOf(found, reply), found.Export.LiveOrigin,
                server.Record.IsOfThisNamespace ? null : server.Record.PidNamespace));
    }

    // Exports may have come and gone since the record was read.
    private static ExportCounters? CountersOf(FoundExport found, ControlReply reply)
    {
        var index = reply.Exports is { } ids && found.Export.Id is { } id ? ids.ToList().IndexOf(id) : found.Index;
        return index < 0 ? null : reply.Counters?.ElementAtOrDefault(index);
    }

    // A line for each device that is there, as of dmsetup; what a dead process left behind is none.
    private static void PrintDm(List<StatusReport> reports, string? wanted)
    {
        var live = reports.FindAll(report => !report.Stale);
        if (live.Count == 0 && wanted is not null)
            throw new CommandException($"{wanted}: nobody serves it any more");
        live.ForEach(PrintDm);
    }

    // The kernel's target says what it has allocated; a linear overlay's map says it as of the last flush.
    private static void PrintDm(StatusReport report)
    {
        // The kernel's snapshot-origin has no status of its own.
        var words = report.LiveOrigin is not null ? report.Counters?.FailedBecause is null ? "snapshot-origin" : "snapshot-origin Invalid"
            : report.Counters?.DmStatus is { } status ? "snapshot " + status
            : report.Counters?.FailedBecause is not null ? "cow Invalid"
            : report.Overlay is not null && OverlayDescription.Read(report.Overlay, null) is var info
                ? info.DmStatus is { } last ? "snapshot " + last
                : string.Create(CultureInfo.InvariantCulture,
                    $"cow {info.Chunks.Data * (info.ChunkSize / 512)}/{info.Size / 512} {(info.MapOffset + info.MapBytes) / 512}")
            : "cow Unknown";
        Printable.Line(string.Create(CultureInfo.InvariantCulture, $"0 {report.Size / 512} {words}"));
    }

    private static void Print(StatusReport report)
    {
        Printable.Line($"{report.Name}: "
            + $"{report.Overlay ?? (report.LiveOrigin is { } live ? "live origin " + live : "transient over " + report.Origin)}, "
                + $"{SizeText.Format(report.Size)}{(report.ReadOnly ? ", read-only" : "")}");
        if (report.Stale)
            Printable.Line($"  stale: process {report.Pid} ({report.Command}) is gone; 'lincow detach --stale' takes away what it left "
                + "behind");
        else
            Printable.Line(string.Create(CultureInfo.InvariantCulture,
                $"  by process {report.Pid}{(report.PidNamespace is { } other ? $" of another pid namespace, {other}" : "")} "
                    + $"(lincow {report.Command}) since {report.Since:yyyy-MM-dd HH:mm:ss}"));
        if (report.Device is not null || report.File is not null)
            Printable.Line($"  attached via {report.Via} as "
                + string.Join(", ", new[] { report.Device, report.Link, report.File }.OfType<string>()));
        foreach (var uri in report.Uris)
            Printable.Line("  " + uri);
        if (report.Counters is { } counters)
        {
            Printable.Line($"  {counters.Requests} requests, {counters.InFlight} in flight: {counters.Reads} reads "
                + $"({SizeText.Format(counters.BytesRead)}), {counters.Writes} writes ({SizeText.Format(counters.BytesWritten)}), "
                + $"{counters.Discards} discards ({SizeText.Format(counters.BytesDiscarded)}), {counters.Flushes} flushes in "
                    + $"{counters.Rounds} rounds");
            PrintTrouble(counters);
            if (counters.DmStatus is { } dm)
                Printable.Line($"  dm status {dm}{(counters.AreaCache is { } cache ? "; " + Describe(cache) : "")}");
            if (counters.FailedBecause is { } reason)
                Printable.Line($"  FAILED: {reason}");
        }
        else if (!report.Stale)
        {
            Printable.Line("  it doesn't answer");
        }
    }

    private static void PrintTrouble(ExportCounters counters)
    {
        if (counters.ReadErrors + counters.WriteErrors + counters.FlushErrors > 0)
            Printable.Line($"  ERRORS: {counters.ReadErrors} reads, {counters.WriteErrors} writes and {counters.FlushErrors} flushes failed"
                + (counters.RefusedForRoom > 0 ? $", {counters.RefusedForRoom} of them for want of room" : ""));
        if (counters.FullSince is { } since)
            Printable.Line(string.Create(CultureInfo.InvariantCulture, $"  FULL: the file system below has had no room since "
                + $"{since:yyyy-MM-dd HH:mm:ss}; {counters.WaitingForRoom} writes wait for some"));
    }

    private static string Describe(AreaCacheCounters cache) => string.Create(CultureInfo.InvariantCulture,
        $"area cache of {cache.Areas}: {cache.Hits} hits, {cache.Misses} misses "
            + $"({100.0 * cache.Hits / Math.Max(1, cache.Hits + cache.Misses):0.0} %)");
}

/// <summary>
/// What <c>status</c> says of one device. Without counters the server doesn't answer. The process's number is that of its pid namespace,
/// where that is another one.
/// </summary>
internal sealed record StatusReport(int Pid, string Command, DateTimeOffset Since, bool Stale, string Name, string? Overlay,
    string? Origin, long Size, bool ReadOnly,
    IReadOnlyList<string> Uris, string? Via, string? Device, string? File, string? Link, ExportCounters? Counters, string? LiveOrigin,
    string? PidNamespace);
