using System.CommandLine;
using Lincow.Operations;
using Lincow.Serving.Attach;

namespace Lincow.Cli.Commands;

internal static class CreateCommand
{
    /// <summary>Less than this is nobody's concern.</summary>
    private const long MuchBytes = 16 << 20;

    public static Command Build()
    {
        var overlay = new Argument<string?>("OVERLAY")
        {
            Description = "Path of the new overlay: a new file, or a block device",
            Arity = ArgumentArity.ZeroOrOne
        };
        var origin = Options.Origin("What lies below: a file or block device with a raw disk, raw:PATH (its bytes as they are, whatever "
            + "they look like), or zero:SIZE for nothing");
        var map = new Option<string?>("--map")
        {
            Description = "Keep the map in a file or device of its own, and the data at shift 0",
            HelpName = "PATH"
        };
        var chunk = Options.Size("--chunk", "Chunk size: a power of two from 512 to 64M [default: 4K]");
        var size = Options.Size("--size", "Size of the device; beyond the origin's end it reads zeroes [default: the origin's]");
        var maxSize = Options.Size("--max-size", "Leave room to grow to this size [default: --size]");
        var sectorSize = Options.SectorSize("the origin's");
        var store = Options.Store("linear: each chunk at its own offset; snapshot: as dm-snapshot keeps it [default: linear]");
        var storeSize = Options.Size("--store-size", "Size of a snapshot store's file [default: room for every chunk, sparse]");
        var preallocate = new Option<bool>("--preallocate") { Description = "Reserve the space of all data now, laid out in order" };
        var force = new Option<bool>("--force") { Description = "Replace what is at OVERLAY" };
        var relative = new Option<bool>("--relative")
        {
            Description = "Remember the origin by its place relative to the overlay's, so that a directory with both can be moved"
        };
        var acceptInUse = Options.AcceptInUse();
        var table = Options.Table();
        var quiet = Options.Quiet();
        var json = Options.Json();
        var command = new Command("create", "Make an overlay over an origin.") { overlay, origin, map, chunk, size, maxSize,
            sectorSize, store, storeSize, preallocate, force, relative, acceptInUse, table, quiet, json };
        command.SetAction(result =>
        {
            var options = result.GetValue(table) is { } line
                ? FromTable(DmTable.Parse(line))
                : new CreateOptions
                {
                    Overlay = result.GetValue(overlay) ?? throw new UsageException("create: give the path of the new OVERLAY"),
                    Origin = result.GetValue(origin) ?? throw new UsageException("create: give an origin with --origin: a file, a block "
                        + "device or zero:SIZE"),
                    Map = result.GetValue(map),
                    ChunkBytes = result.GetValue(chunk) ?? 4096,
                    SizeBytes = result.GetValue(size),
                    MaxSizeBytes = result.GetValue(maxSize),
                    SectorBytes = (int?)result.GetValue(sectorSize),
                    Store = result.GetValue(store) ?? StoreTraits.DefaultName,
                    StoreBytes = result.GetValue(storeSize),
                };
            var traits = StoreTraits.Of(options.Store);
            if (!traits.TakesMap && (options.Map is not null || options.MaxSizeBytes is not null))
                throw new UsageException($"a {traits.Name} store has its table inside and no room to grow: leave out --map and --max-size");
            if (!traits.CanBeFull && options.StoreBytes is not null)
                throw new UsageException($"--store-size goes with --store snapshot; a {traits.Name} overlay has its device's size");
            WaitingDevice.Refuse(options.Overlay, options.Map);
            options = options with
            {
                Preallocate = result.GetValue(preallocate),
                Force = result.GetValue(force),
                RelativeOrigin = result.GetValue(relative),
                AcceptInUse = result.GetValue(acceptInUse),
                Warn = result.GetValue(quiet) ? null : CommandRunner.Warn,
            };
            var info = Create(options);
            WarnOf(info, options);
            if (result.GetValue(json))
                Json.Write(info, Json.Default.OverlayInfo);
            else if (!result.GetValue(quiet))
                Report(info);
            return 0;
        });
        return command.WithExamples("""
              lincow create work.cow --origin golden.img                  # map in front of the data
              lincow create work.img --origin golden.img --map work.map   # map apart: work.img has the device's own layout
              lincow create /dev/vg/cow --origin /dev/sdb --chunk 64K     # on block devices
              lincow create empty.cow --origin zero:100G                  # over nothing
              lincow create work.snap --origin golden.img --store snapshot --store-size 1G    # a store for dm-snapshot, too
              lincow create --table '0 2097152 cow golden.img work.cow P 8'
            """);
    }

    public static CreateOptions FromTable(DmTable table) => !table.IsPersistent
        ? throw new UsageException("--table: N is a transient overlay, which 'lincow serve --table' makes; create makes persistent ones, P")
        : new()
        {
            Overlay = table.Overlay,
            Origin = table.Origin,
            Map = table.Map,
            ChunkBytes = table.ChunkBytes,
            SizeBytes = table.SizeBytes,
            Store = table.Store.Name,
        };

    private static OverlayInfo Create(CreateOptions options)
    {
        using var interruption = Signals.Interruptible();
        try
        {
            return OverlayCreator.CreateAsync(options, interruption.Token).GetAwaiter().GetResult();
        }
        catch (OperationCanceledException e)
        {
            throw new CommandException($"{options.Overlay}: interrupted before anything was made there. Start it again", e);
        }
    }

    // What the file system can't do, and what that will mean.
    private static void WarnOf(OverlayInfo info, CreateOptions options)
    {
        if (!options.Preallocate && info.AllocatedBytes is { } taken && taken >= info.Size / 2 && info.Size >= MuchBytes)
            CommandRunner.Warn($"{info.Overlay}: its file system has no holes in files, so the overlay takes all of its space, "
                + $"{SizeText.Format(taken)}, from now on. A store that takes no more than what is to be written: --store snapshot "
                + "--store-size SIZE");
        if (!info.RemembersOrigin)
            CommandRunner.Warn($"{info.Overlay}: a snapshot store has no place for its origin, and there are no extended attributes "
                + $"here to keep it in. Give it each time: --origin {info.Origin.Uri}"
                + (info.Size == info.Origin.Size ? "" : $" --size {info.Size}"));
        if (options.Map is not null && !FindsItsMap(options))
            CommandRunner.Warn($"{info.Overlay}: there are no extended attributes here to keep the place of its map in. Give it each time: "
                + $"--map {info.MapPath}");
    }

    private static bool FindsItsMap(CreateOptions options)
    {
        try
        {
            return OverlayDescription.Read(options.Overlay, null) is not null;
        }
        catch (LincowException)
        {
            return false;
        }
    }

    private static void Report(OverlayInfo info)
    {
        var place = info.StoreBytes is { } bytes ? $"a dm-snapshot store of {SizeText.Format(bytes)}"
            : info.Layout == "front" ? $"data at shift {SizeText.Format(info.DataOffset)}" : $"map in {info.MapPath}, data at shift 0";
        Console.Out.WriteLine(Printable.Text($"created {info.Overlay}: {SizeText.Format(info.Size)} over {info.Origin.Uri}, chunks of "
            + $"{SizeText.Format(info.ChunkSize)}, map {SizeText.Format(info.MapBytes)}, {place}"));
    }
}
