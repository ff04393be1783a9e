using System.CommandLine;
using Lincow.Cli.Output;
using Lincow.Operations;

namespace Lincow.Cli.Commands;

internal static class InfoCommand
{
    public static Command Build()
    {
        var overlays = Options.Overlays();
        var map = Options.Map();
        var acceptMap = Options.AcceptMap();
        var origin = Options.StoreOrigin();
        var dm = new Option<bool>("--dm") { Description = "Print the device-mapper table alone" };
        var json = Options.Json();
        var command = new Command("info",
            "Show what overlays are: origin, sizes, layout, shift, map, and how many chunks are in each state.") { overlays, map,
                acceptMap, origin, dm, json };
        command.SetAction(result =>
        {
            var paths = Several.Of(result.GetValue(overlays)!, result.GetValue(map), result.GetValue(origin));
            var infos = new List<OverlayInfo>();
            var several = Several.Run(paths, path =>
            {
                var info = OverlayDescription.Read(path, result.GetValue(map), result.GetValue(acceptMap), result.GetValue(origin));
                infos.Add(info);
                if (result.GetValue(dm))
                    Console.Out.WriteLine((paths.Length > 1 ? Printable.Text(info.Overlay) + ": " : "") + (info.DmTable
                        ?? throw new CommandException($"{info.Overlay}: the device's size isn't known without its origin. Give it with "
                            + "--origin PATH")));
                else if (!result.GetValue(json))
                    Print(info, isFirst: infos.Count == 1);
            });
            if (result.GetValue(json) && !result.GetValue(dm))
                Several.WriteJson(infos, paths.Length, Json.Default.OverlayInfo, Json.Default.ListOverlayInfo);
            return several.End();
        });
        return command.WithExamples("""
              lincow info work.cow
              lincow info work.cow --json | jq .chunks.data
              lincow info *.cow --json | jq '.[].allocatedBytes'
            """);
    }

    private static void Print(OverlayInfo info, bool isFirst)
    {
        if (!isFirst)
            Console.Out.WriteLine();
        Row("overlay", info.Overlay);
        Row("uuid", info.Uuid);
        Row("origin", info.Origin.Uri.Length == 0 ? "not known; give it with --origin"
            : $"{info.Origin.Uri} ({SizeText.Format(info.Origin.Size)}{(info.Origin.Present ? "" : ", missing")}"
                + $"{(info.Origin.Relative is { } relative ? $", remembered as {relative}, from the overlay's place" : "")})");
        Row("size", $"{SizeText.Format(info.Size)} ({info.Size} "
            + $"bytes){(info.MaxSize > info.Size ? $", room to grow to {SizeText.Format(info.MaxSize)}" : "")}");
        if (info.SectorSize is { } sectorSize)
            Row("sector size", SizeText.Format(sectorSize));
        if (info.StoreBytes is { } storeBytes)
        {
            PrintStore(info, storeBytes);
            return;
        }
        Row("chunk size", SizeText.Format(info.ChunkSize));
        Row("store", $"{info.Store}, map {(info.Layout == "front" ? "in front of the data" : "apart")}, {info.Mode}");
        Row("data", $"{info.DataPath}, shift {SizeText.Format(info.DataOffset)} ({info.DataOffset} bytes)");
        Row("map", $"{info.MapPath} at byte {info.MapOffset}, {SizeText.Format(info.MapBytes)} ({info.MapBytes} bytes, "
            + $"{100.0 * info.MapBytes / info.Size:0.####} % of the device)");
        Row("chunks", $"{info.Chunks.Data} data, {info.Chunks.Zero} zero, {info.Chunks.Origin} origin, {info.Chunks.Total} in all");
        if (info.AllocatedBytes is { } allocated)
            Row("space used", SizeText.Format(allocated));
        Row("generation", info.Generation.ToString(System.Globalization.CultureInfo.InvariantCulture));
        Row("state", info.InUseBy is { } user ? $"in use by {user}; shown as of its last flush" : info.Clean ? "clean"
            : "not closed cleanly; the next open mends it");
        if (info.DamagedPages > 0)
            Row("damage", $"{info.DamagedPages} map pages; run 'lincow check'");
        PrintCommit(info);
    }

    private static void PrintCommit(OverlayInfo info)
    {
        if (info.UnfinishedCommit)
            Row("commit", info.InUseBy is null ? ErrorText.CommitUnfinished
                : "begun and not complete yet; if it isn't under way, run 'lincow commit' again");
    }

    private static void PrintStore(OverlayInfo info, long storeBytes)
    {
        Row("chunk size", SizeText.Format(info.ChunkSize));
        Row("store", $"dm-snapshot, persistent, version 1, {SizeText.Format(storeBytes)} ({storeBytes} bytes), chunks in order of arrival");
        Row("dm status", info.DmStatus ?? "");
        Row("areas", $"{info.MapPath} from byte {info.MapOffset} on, {SizeText.Format(info.MapBytes)} with the header");
        Row("chunks", $"{info.Chunks.Data} data, {info.Chunks.Origin} origin, {info.Chunks.Total} in all");
        if (info.AllocatedBytes is { } allocated)
            Row("space used", SizeText.Format(allocated));
        Row("state", info.InUseBy is { } user ? $"in use by {user}; shown as of its last flush" : info.Valid == false
            ? "invalid: given up, because it was full or its disk failed" : info.Clean ? "valid"
                : "valid; a cut has left something behind the list, which the next open clears");
        if (info.DamagedPages > 0)
            Row("damage", $"{info.DamagedPages} entries; run 'lincow check'");
        PrintCommit(info);
    }

    private static void Row(string label, string value) =>
        Console.Out.WriteLine($"{label + ":",-12} {Printable.Text(value)}");
}
