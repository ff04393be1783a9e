using System.Globalization;
using System.Text.Json;
using Lincow.Linux;

namespace Lincow.Serving.Control;

/// <summary>A server that the run directory knows of.</summary>
/// <param name="Record">What it wrote down.</param>
/// <param name="IsAlive">Whether that process still runs; if not, what it left behind is stale.</param>
internal sealed record KnownServer(ServingRecord Record, bool IsAlive);

/// <summary>
/// The directory in which every process that serves overlays leaves a record (ID.json), its control socket (ID.sock) and a file that it has
/// locked as long as it lives (ID.lock): $LINCOW_RUN_DIR, else /run/lincow for root, else $XDG_RUNTIME_DIR/lincow; root of a user namespace
/// has /run/lincow if that is its own, and without $XDG_RUNTIME_DIR /tmp/lincow-UID. It belongs to one user alone (mode 0700), because who
/// may write there may steer servers.
/// </summary>
internal sealed class RunDirectory
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    /// <summary>A record is a few hundred bytes for each export.</summary>
    private const int MaxRecordBytes = 16 << 20;

    private const string OfMachine = "/run/lincow";

    private RunDirectory(string path) => Path = path;

    public string Path { get; }

    /// <summary>Null when the environment names none.</summary>
    public static string? DefaultPath =>
        Environment.GetEnvironmentVariable("LINCOW_RUN_DIR") is { Length: > 0 } named ? LinuxPath.Full(named)
        : HasMachines ? OfMachine
        : Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR") is { Length: > 0 } runtime ? System.IO.Path.Combine(runtime, "lincow")
        // Of those in a user namespace, many have no such variable, nor who would make them a directory.
        : Environment.IsPrivilegedProcess ? string.Create(CultureInfo.InvariantCulture, $"/tmp/lincow-{LinuxProcess.OuterUser(0)}")
        : null;

    /// <summary>Where root's sockets lie by default. Throws <see cref="LincowException"/>.</summary>
    public static string OfRoot() => HasMachines ? OfMachine : Open().Path;

    private static bool HasMachines =>
        LinuxProcess.IsMachineRoot || (Environment.IsPrivilegedProcess && LinuxPath.CanHaveDirectory(OfMachine));

    /// <summary>The directory, made if it isn't there. Throws <see cref="LincowException"/>.</summary>
    public static RunDirectory Open()
    {
        var path = DefaultPath ?? throw new LincowException(ControlErrors.NoRunDirectory());
        // What is attached is told of by its path, alone on a line.
        // mutation: run-directory-of-two-lines
        if (path.Any(char.IsControl))
            throw new LincowException(ControlErrors.RunDirectoryUnprintable(path));
        try
        {
            Directory.CreateDirectory(path, OwnerOnly);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new LincowException(ControlErrors.RunDirectoryUnmakeable(path, e), e);
        }
        if (!LinuxPath.IsTrusted(path))
            throw Untrusted(path);
        return new RunDirectory(path);
    }

    /// <summary>Whether there is one, and it may be believed.</summary>
    public static bool IsThere => DefaultPath is { } path && Directory.Exists(path) && LinuxPath.IsTrusted(path);

    /// <summary>
    /// Every server that has a record, by age. Nothing when there is no directory. The record of one that died and left nothing else behind
    /// goes. Throws <see cref="LincowException"/> where others may write: what a record names is stopped, unmounted and deleted.
    /// </summary>
    public static List<KnownServer> List()
    {
        var servers = new List<KnownServer>();
        if (DefaultPath is not { } path || !Directory.Exists(path))
            return servers;
        // By its descriptor: the directory that was looked at is the one that is read.
        using var directory = OpenDirectory(path);
        if (!LinuxPath.IsTrusted(directory.OwnPath))
            throw Untrusted(path);
        foreach (var file in Directory.EnumerateFiles(directory.OwnPath + "/", "*.json"))
        {
            try
            {
                if (LinuxFile.ReadTrusted(file, MaxRecordBytes) is { } text
                    && JsonSerializer.Deserialize(text, ControlJson.Default.ServingRecord) is { Exports: not null } record
                    && System.IO.Path.GetFileName(file) == record.Id + ".json")
                {
                    var server = new KnownServer(record, IsAlive(record));
                    if (server.IsAlive || record.Exports.Any(export => export.Via is not null))
                        servers.Add(server);
                    else
                        Remove(record);
                }
            }
            catch (Exception e) when (e is IOException or JsonException or UnauthorizedAccessException)
            {
                // It ended while we looked; a record is renamed into its place, so none is half written.
            }
        }
        servers.Sort((left, right) => left.Record.Since.CompareTo(right.Record.Since));
        return servers;
    }

    /// <summary>
    /// Whether a server lives. Its lock says so to everybody, in whatever pid namespace. Where there is none (an older server's record; a
    /// file system that has no locks) its number does, in its own namespace; what can't be judged lives.
    /// </summary>
    public static bool IsAlive(ServingRecord record)
    {
        try
        {
            using var file = LinuxFile.Open(LockPath(record), writable: false);
            // mutation: real-container-is-stale
            return file.IsLockedElsewhere(0);
        }
        catch (LinuxException)
        {
            return record.IsOfThisNamespace ? LinuxProcess.StartTime(record.Pid) == record.StartTime
                : File.Exists(System.IO.Path.Combine(DefaultPath!, record.Id + ".json"));
        }
    }

    /// <summary>What says that a server lives, until it is disposed of or the process ends. Null where there are no locks.</summary>
    public static IDisposable? TryLock(ServingRecord record)
    {
        var file = LinuxFile.CreateNew(LockPath(record));
        try
        {
            if (file.TryLock(0, exclusive: true))
                return file;
        }
        catch (LinuxException)
        {
            // As below.
        }
        file.Dispose();
        File.Delete(LockPath(record));
        return null;
    }

    private static string LockPath(ServingRecord record) => System.IO.Path.Combine(DefaultPath!, record.Id + ".lock");

    public static string SocketPath(ServingRecord record) => System.IO.Path.Combine(DefaultPath!, record.Id + ".sock");

    /// <summary>Where a detached server writes what it has to say.</summary>
    public static string LogPath(ServingRecord record) => System.IO.Path.Combine(DefaultPath!, record.Id + ".log");

    public void Write(ServingRecord record)
    {
        var path = System.IO.Path.Combine(Path, record.Id);
        File.Delete(path + ".new");
        using (var file = LinuxFile.CreateNew(path + ".new"))
            file.Write(JsonSerializer.SerializeToUtf8Bytes(record, ControlJson.Default.ServingRecord), 0);
        File.Move(path + ".new", path + ".json", overwrite: true);
    }

    /// <summary>
    /// Whether a path names something right in the directory: what a record says is there and isn't was not made by its server.
    /// </summary>
    public static bool Holds(string path) =>
        DefaultPath is { } directory && System.IO.Path.GetFileName(path) is not ("" or "." or "..")
        && System.IO.Path.GetDirectoryName(path) == System.IO.Path.TrimEndingDirectorySeparator(directory);

    /// <summary>Takes away everything that a server has in the directory.</summary>
    public static void Remove(ServingRecord record)
    {
        foreach (var ending in (string[])[".sock", ".log", ".new", ".json", ".lock"])
            File.Delete(System.IO.Path.Combine(DefaultPath!, record.Id + ending));
    }

    private static LinuxFile OpenDirectory(string path)
    {
        try
        {
            return LinuxFile.Open(path, writable: false);
        }
        catch (LinuxException e)
        {
            throw new LincowException(ControlErrors.RunDirectoryUnreadable(path, e), e);
        }
    }

    private static LincowException Untrusted(string path) => new(ControlErrors.RunDirectoryUntrusted(path));
}
