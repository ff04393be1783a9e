using System.CommandLine;
using System.Net.Sockets;
using Lincow.Cli.Output;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Origins;
using Lincow.Serving.Control;
using Lincow.Serving.Frontends.Nbd;
using Lincow.Serving.Hosting;

namespace Lincow.Cli.Commands;

internal static class ServeCommand
{
    /// <param name="arguments">The whole command line, for the process that --fork leaves in the background.</param>
    public static Command Build(string[] arguments)
    {
        var overlays = new Argument<string[]>("OVERLAY")
        {
            Description = "Overlays to serve, each as an export of its own",
            Arity = ArgumentArity.ZeroOrMore
        };
        var nbd = new Option<string[]>("--nbd")
        {
            Description =
            "Where to listen: unix:PATH or tcp:HOST:PORT [default: the sockets of LISTEN_FDS, else "
                + "unix:$XDG_RUNTIME_DIR/lincow/EXPORT.sock, or /run/lincow/EXPORT.sock for root]",
            HelpName = "ADDRESS",
            Arity = ArgumentArity.OneOrMore
        };
        var vhost = new Option<string[]>("--vhost-user")
        {
            Description =
            "Unix sockets for virtual machines (vhost-user-blk), in the overlays' order; NBD only if --nbd is given as well",
            HelpName = "PATH",
            Arity = ArgumentArity.OneOrMore
        };
        var name = new Option<string[]>("--name")
        {
            Description = "Names of the exports, in the overlays' order [default: file names]",
            HelpName = "EXPORT",
            Arity = ArgumentArity.OneOrMore
        };
        var liveOrigin = new Option<string?>("--snapshot-origin")
        {
            Description =
            "Serve this origin itself, for writing, as the last export; OVERLAY are dm-snapshot stores made on it, which keep what it was "
                + "(dm's snapshot-origin)",
            HelpName = "ORIGIN"
        };
        var surviveKill = new Option<bool>("--survive-kill")
        {
            Description =
            "Answer writes only when they would be there after a kill -9 of this server: for clients that connect again and go on"
        };
        var common = new SessionArguments();
        var tls = new TlsArguments();
        var life = new ServeLife();
        var access = new SocketArguments();
        var command = new Command("serve",
            "Serve overlays over NBD or vhost-user until 'lincow stop', SIGTERM, SIGINT or SIGHUP. Prints 'ready URI' for each export "
                + "once clients can connect.")
        {
            overlays, nbd, vhost, name, liveOrigin, surviveKill,
        };
        common.AddTo(command);
        access.AddTo(command);
        tls.AddTo(command);
        life.AddTo(command);
        command.SetAction(result =>
        {
            if (life.Fork(result, arguments) is { } status)
                return status;
            var sessions = common.Read(result, result.GetValue(overlays) ?? []);
            if (result.GetValue(surviveKill))
                sessions = [.. sessions.Select(Surviving)];
            var live = result.GetValue(liveOrigin);
            if (live is not null)
                sessions = OverLive(sessions, live);
            var names = result.GetValue(name) ?? [];
            if (names.Length > sessions.Count + (live is null ? 0 : 1))
                throw new UsageException($"--name: {names.Length} names for {sessions.Count} overlays");
            var settings = tls.Read(result);
            var addresses = (result.GetValue(nbd) ?? []).Select(ParseAddress).ToList();
            var vhostPaths = (result.GetValue(vhost) ?? []).Select(ListenAddress.AtPath).ToList();
            (addresses, vhostPaths) = access.Apply(result, addresses, vhostPaths);
            var exports = sessions.Count + (live is null ? 0 : 1);
            if (vhostPaths.Count > exports)
                throw new UsageException($"--vhost-user: {vhostPaths.Count} sockets for {exports} exports");
            var sockets = life.Sockets(result);
            if (addresses.Count + vhostPaths.Count + sockets.Count == 0)
                addresses.Add(DefaultAddress.For(names.FirstOrDefault() ?? Path.GetFileNameWithoutExtension(sessions[0]
                    .Overlay ?? OriginReference.Parse(sessions[0].Origin!).Place)));
            var stopTimeout = common.StopPatience(result);
            var host = new Host(new HostOptions { Log = CommandRunner.Warn, Describe = ErrorText.Of, StopTimeout = stopTimeout });
            life.Run(result, host, () => Serve(host, sessions, names, live, new Places(addresses, sockets, vhostPaths), settings));
            return 0;
        });
        return command.WithExamples("""
              lincow serve work.cow --nbd unix:/tmp/work.sock
              lincow serve work.cow --nbd unix:/tmp/work.sock --fork      # returns when clients can connect; 'lincow stop work.cow' ends it
              lincow serve a.cow b.cow --nbd tcp:127.0.0.1:10809          # exports 'a' and 'b'
              lincow serve work.cow --vhost-user /tmp/work.vhost          # a disk of QEMU, Cloud Hypervisor,
                  Firecracker: docs/vhost-user.md
              lincow serve work.cow --vhost-user /srv/vm/work.vhost --socket-group kvm    # for a QEMU that isn't root's
              lincow serve --origin golden.img --nbd unix:/tmp/t.sock     # transient: forgotten at exit
              lincow serve work.cow --origin /mnt/new/golden.img          # the origin has moved
              lincow serve --snapshot-origin disk.img monday.snap         # disk.img stays in use; monday.snap shows it as it was
              lincow serve --table '0 2097152 cow golden.img work.cow P 8'
              lincow serve work.cow --nbd tcp:0.0.0.0:10809 --tls-cert cert.pem --tls-key key.pem --tls-require
            """);
    }

    /// <summary>Where clients connect.</summary>
    private sealed record Places(List<ListenAddress> Nbd, List<int> Inherited, List<ListenAddress.Unix> Vhost);

    /// <summary>Has the overlays served; returns what says where.</summary>
    private static IEnumerable<string> Serve(Host host, List<OverlayOptions> sessions, string[] names, string? live, Places places,
        TlsSettings? tls)
    {
        var wanted = sessions.Select((session, index) => new ExportOptions { Overlay = session, Name = names.ElementAtOrDefault(index) })
            .ToList();
        var liveName = sessions.Count < names.Length ? names[^1] : null;
        var exports = live is null ? host.AddRange(wanted)
            : host.AddLiveOrigin(new LiveOriginOptions { Origin = live, Name = liveName, Snapshots = wanted });
        var uris = new List<string?>();
        foreach (var address in places.Nbd)
        {
            var listener = Listening("--nbd", () => host.Listen(address, tls));
            uris.AddRange(exports.Select(listener.UriOf));
        }
        foreach (var socket in places.Inherited)
            uris.AddRange(exports.Select(host.ListenOn(socket, tls).UriOf));
        for (var i = 0; i < places.Vhost.Count; i++)
        {
            var (export, path) = (exports[i], places.Vhost[i]);
            uris.Add(Listening("--vhost-user", () => host.ListenVhostUser(path, export)).UriOf(export));
        }
        return uris.Select(uri => "ready " + Printable.Text(uri!));
    }

    /// <summary>Listens, or says what is wrong with the address that an option named.</summary>
    private static Listener Listening(string option, Func<Listener> listen)
    {
        try
        {
            return listen();
        }
        catch (LincowException e) when (e.Error.Code == LincowErrorCode.AddressInUse)
        {
            throw new CommandException($"{e.Error.File}: is in use: another server listens there. Give another address with {option}, or "
                + "stop that server", e);
        }
        catch (LincowException e) when (e.Error.Code == LincowErrorCode.AddressNotSocket)
        {
            throw new CommandException($"{e.Error.File}: exists and is not a socket, so nothing can listen there. Give another path "
                + $"with {option}", e);
        }
        catch (LincowException e) when (e.InnerException is SocketException cause)
        {
            throw new CommandException($"{option}: {cause.Message}", e);
        }
    }

    private static ListenAddress ParseAddress(string text) => ListenAddress.TryParse(text, out var address) ? address
        : throw new UsageException($"--nbd '{text}': write unix:PATH or tcp:HOST:PORT");

    private static OverlayOptions Surviving(OverlayOptions session) =>
        session.Overlay is null || session.ReadOnly
            ? throw new UsageException("--survive-kill: a transient overlay is gone with its server, and with --read-only nothing is "
                + "written")
            : session with { OutliveServer = true };

    private static List<OverlayOptions> OverLive(List<OverlayOptions> sessions, string origin)
    {
        if (sessions.Any(session => session.Overlay is null || session.Origin is not null || session.ReadOnly || session.Direct))
            throw new UsageException("--snapshot-origin: give dm-snapshot stores as OVERLAY, and leave out --origin, --read-only and "
                + "--cache none");
        return [.. sessions.Select(session => session with { Origin = origin, OriginIsLive = true })];
    }
}

/// <summary>The Unix socket used when none is named.</summary>
internal static class DefaultAddress
{
    public static ListenAddress For(string name)
    {
        var directory = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR") is { Length: > 0 } runtime
            ? Path.Combine(runtime, "lincow")
            // Not in a directory that everybody writes to: whoever is there first would own the place.
            : Environment.IsPrivilegedProcess ? RunDirectory.OfRoot()
                : throw new UsageException("there is no XDG_RUNTIME_DIR for the socket; say where to listen with --nbd unix:PATH");
        try
        {
            Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CommandException($"{directory}: the directory for sockets can't be made: {SystemReason.Of(e)}. Say where to listen "
                + "with --nbd unix:PATH", e);
        }
        try
        {
            return ListenAddress.AtPath(Path.Combine(directory, name + ".sock"));
        }
        catch (LincowException e) when (e.Error.Code == LincowErrorCode.SocketPathTooLong)
        {
            throw new CommandException($"{e.Error.File}: a Unix socket's path has at most {e.Error["maxBytes"]} bytes, and this one has "
                + $"{e.Error["pathBytes"]}. Say where to listen with --nbd unix:PATH", e);
        }
    }
}

/// <summary>The options of serve and run that say what is opened, and how.</summary>
internal sealed class SessionArguments
{
    private readonly Option<string?> _origin =
        Options.Origin("Without OVERLAY: a transient overlay over this origin. With one: the origin's new place, if it was moved");
    private readonly Option<string?> _overlayData =
        new("--overlay")
        {
            Description =
            "Where a transient overlay's data goes: a directory, a new file or a block device [default: $TMPDIR, or /var/tmp]",
            HelpName = "PATH"
        };
    private readonly Option<string?> _map = Options.Map();
    private readonly Option<long?> _chunk = Options.Size("--chunk", "Chunk size of a transient overlay [default: 4K]");
    private readonly Option<long?> _size = Options.Size("--size", "Size of a transient overlay's device [default: the origin's]");
    private readonly Option<long?> _sectorSize = Options.SectorSize("the overlay's, or the origin's");
    private readonly Option<bool> _readOnly = new("--read-only") { Description = "Refuse writes; several may serve one overlay so" };
    private readonly Option<string?> _cache = Options.OneOf("--cache", ["writeback", "none"],
        "writeback: through the page cache; none: past it (O_DIRECT)", otherwise: "writeback");
    private readonly Option<string?> _onFull = Options.OneOf("--on-full", ["error", "wait"],
        "When the file system below has no room: error: writes fail with ENOSPC; wait: they wait until there is", otherwise: "error");
    private readonly Option<bool> _acceptOrigin = Options.AcceptOrigin();
    private readonly Option<bool> _acceptInUse = Options.AcceptInUse();
    private readonly Option<bool> _ignoreHoles = Options.IgnoreHoles();
    private readonly Option<bool> _acceptMap = Options.AcceptMap();
    private readonly Option<string?> _table = Options.Table();
    private readonly Option<string?> _store = Options.Store("How a transient overlay keeps its chunks [default: linear]");
    private readonly Option<long?> _areaCache = Options.Size("--area-cache",
        "dm-snapshot stores: memory for areas of the list [default: 16M]");
    private readonly Option<bool> _giveUp =
        new("--give-up-when-full")
        {
            Description =
            "dm-snapshot stores: when full, mark the store invalid as the kernel's P does; else writes fail and the rest goes on"
        };
    private readonly Option<double> _stopTimeout =
        new("--stop-timeout")
        {
            Description =
            "What the end may take; what can't be flushed by then, because its disk stands still, is named and given up [default: 30]",
            HelpName = "SECONDS",
            DefaultValueFactory = _ => HostOptions.DefaultStopSeconds
        };
    private readonly Option<bool> _rescue =
        new("--rescue") { Description = "dm-snapshot stores, with --read-only: show what is sound of one that is invalid or damaged" };

    public void AddTo(Command command)
    {
        foreach (var option in new Option[] { _origin, _overlayData, _map, _chunk, _size, _sectorSize, _readOnly, _cache, _onFull,
            _acceptOrigin, _acceptInUse, _ignoreHoles, _acceptMap, _table, _store, _areaCache, _giveUp, _rescue, _stopTimeout })
            command.Add(option);
    }

    /// <summary>How long the end of serving may take.</summary>
    public TimeSpan StopPatience(ParseResult result) => result.GetValue(_stopTimeout) is > 0 and < 1e6 and var seconds
        ? TimeSpan.FromSeconds(seconds)
        : throw new UsageException("--stop-timeout: give a number of seconds greater than 0");

    public List<OverlayOptions> Read(ParseResult result, string[] overlays)
    {
        var common = new OverlayOptions
        {
            Origin = result.GetValue(_origin),
            Map = result.GetValue(_map),
            ReadOnly = result.GetValue(_readOnly),
            Direct = result.GetValue(_cache) == "none",
            WaitForRoom = result.GetValue(_onFull) == "wait",
            AcceptOrigin = result.GetValue(_acceptOrigin),
            AcceptMap = result.GetValue(_acceptMap),
            AcceptInUse = result.GetValue(_acceptInUse),
            IgnoreHoles = result.GetValue(_ignoreHoles),
            Warn = CommandRunner.Warn,
            ChunkBytes = result.GetValue(_chunk) ?? 4096,
            SizeBytes = result.GetValue(_size),
            SectorBytes = (int?)result.GetValue(_sectorSize),
            TransientData = result.GetValue(_overlayData),
            Store = result.GetValue(_store) ?? StoreTraits.DefaultName,
            AreaCacheBytes = result.GetValue(_areaCache) ?? 16 << 20,
            GiveUpWhenFull = result.GetValue(_giveUp),
            Rescue = result.GetValue(_rescue),
        };
        if (result.GetValue(_table) is { } line)
            return overlays.Length > 0 ? throw new UsageException("--table names the overlay; leave out OVERLAY")
                : [FromTable(DmTable.Parse(line), common)];
        if (overlays.Length == 0)
            return common.Origin is null ? throw new UsageException("give an OVERLAY, or --origin for a transient one") : [common];
        if (common.TransientData is not null)
            throw new UsageException("--overlay says where a transient overlay's data goes; it doesn't go with OVERLAY");
        if (overlays.Length > 1 && (common.Map is not null || common.Origin is not null))
            throw new UsageException("--map and --origin go with one OVERLAY at a time");
        return overlays.Select(overlay => common with { Overlay = overlay }).ToList();
    }

    // As dmsetup does with a blank store: a persistent one that isn't there yet is made.
    private static OverlayOptions FromTable(DmTable table, OverlayOptions common)
    {
        common = common with
        {
            Origin = table.Origin,
            Store = table.Store.Name,
            GiveUpWhenFull = common.GiveUpWhenFull
            || (table.Store.CanBeFull && table.Kind != "PO")
        };
        if (!table.IsPersistent)
            return common with { TransientData = table.Overlay, ChunkBytes = table.ChunkBytes, SizeBytes = table.SizeBytes };
        if (IsBlank(table.Map ?? table.Overlay))
        {
            // An empty file of a given size is a store of that size.
            var room = table.Store.CanBeFull && File.Exists(table.Overlay) ? new FileInfo(table.Overlay).Length : 0;
            OverlayCreator.Create(CreateCommand.FromTable(table) with
            {
                StoreBytes = room > 0 ? room : null,
                Force = room > 0,
                AcceptInUse = common.AcceptInUse,
                Warn = CommandRunner.Warn,
            });
        }
        var info = OverlayDescription.Read(table.Overlay, table.Map, origin: table.Origin);
        if (table.Store.CanBeFull)
        {
            // The header's chunk size counts, as in the kernel.
            return info.Store != table.Store.Name
                ? throw new CommandException($"{table.Overlay}: is a {info.Store} overlay; its target is "
                    + $"'{StoreTraits.Of(info.Store).DmTarget}'")
                : common with { Overlay = table.Overlay, SizeBytes = table.SizeBytes };
        }
        if (info.ChunkSize != table.ChunkBytes || info.Size != table.SizeBytes)
            throw new CommandException($"{table.Overlay}: has {info.Size / 512} sectors in chunks of {info.ChunkSize / 512}, and the table "
                + $"says {table.SizeBytes / 512} in chunks of {table.ChunkBytes / 512}");
        return common with { Overlay = table.Overlay, Map = table.Map };
    }

    private static bool IsBlank(string path)
    {
        if (!File.Exists(path))
            return true;
        using var file = File.OpenRead(path);
        var head = new byte[4096];
        return file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false) == 0 || head.AsSpan().IndexOfAnyExcept((byte)0) < 0;
    }
}

/// <summary>The TLS options of serve.</summary>
internal sealed class TlsArguments
{
    private readonly Option<string?> _certificate = new("--tls-cert")
    {
        Description = "Offer TLS with this certificate (PEM)",
        HelpName = "FILE"
    };
    private readonly Option<string?> _key = new("--tls-key") { Description = "The certificate's key (PEM)", HelpName = "FILE" };
    private readonly Option<string?> _authority =
        new("--tls-ca") { Description = "Let in only clients whose certificate this authority signed (PEM)", HelpName = "FILE" };
    private readonly Option<bool> _require = new("--tls-require") { Description = "Refuse clients without TLS" };

    public void AddTo(Command command)
    {
        foreach (var option in new Option[] { _certificate, _key, _authority, _require })
            command.Add(option);
    }

    public TlsSettings? Read(ParseResult result)
    {
        var (certificate, key) = (result.GetValue(_certificate), result.GetValue(_key));
        if (certificate is not null && key is not null)
            return TlsSettings.Load(certificate, key, result.GetValue(_authority), result.GetValue(_require));
        if (certificate is not null || key is not null || result.GetValue(_authority) is not null || result.GetValue(_require))
            throw new UsageException("TLS needs both --tls-cert and --tls-key");
        return null;
    }
}
