namespace Lincow.Bench.Running;

/// <summary>The directory in which everything happens: one disk, one origin for all. Gone at the end.</summary>
internal sealed class Workspace : IDisposable
{
    public const long DeviceBytes = 1L << 30;

    /// <summary>
    /// Origin, private copy, an overlay with what its format adds, and as much again for the sixty-four devices and for ease.
    /// </summary>
    public const long NeededBytes = 6L << 30;

    /// <summary>A little less than sockaddr_un holds.</summary>
    private const int LongestSocketPath = 100;

    private const int PieceBytes = 1 << 20, OriginSeed = 20_250_101;

    private readonly CancellationToken _stop;

    public Workspace(string? parent, CancellationToken stop)
    {
        _stop = stop;
        parent ??= Environment.GetEnvironmentVariable("TMPDIR") is { Length: > 0 } temporary ? temporary : "/var/tmp";
        var free = new DriveInfo(Path.GetFullPath(parent)).AvailableFreeSpace;
        if (free < NeededBytes)
            throw new BenchException($"{parent}: {free >> 20} MiB are free and {NeededBytes >> 20} MiB are needed; name another place "
                + "with --work");
        // Short, because the paths of sockets have to be.
        Directory = Path.Combine(Path.GetFullPath(parent), $"lincow-bench-{Environment.ProcessId}");
        if (Socket.Length > LongestSocketPath)
            throw new BenchException($"{parent}: the path is too long for a socket in it; name another place with --work");
        System.IO.Directory.CreateDirectory(Directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    public string Directory { get; }

    /// <summary>1 GiB of random bytes, the same in every run.</summary>
    public string Origin => this["origin.img"];

    /// <summary>The origin's private copy, which raw servers write to.</summary>
    public string RawCopy => this["raw.img"];

    public string Overlay => this["overlay"];

    public string OverlayMap => this["overlay.map"];

    public string OverlayData => this["overlay.data"];

    public string Socket => this["s"];

    public string this[string name] => Path.Combine(Directory, name);

    public long FreeBytes => new DriveInfo(Directory).AvailableFreeSpace;

    public void MakeOrigin()
    {
        using var file = File.Create(Origin);
        var random = new Random(OriginSeed);
        var piece = new byte[PieceBytes];
        for (var written = 0L; written < DeviceBytes; written += PieceBytes)
        {
            _stop.ThrowIfCancellationRequested();
            random.NextBytes(piece);
            file.Write(piece);
        }
    }

    /// <summary>
    /// The same start for each cell: nothing of the predecessor is left, none of its dirty data is still on its way to the disk, and what
    /// lies below the overlay is in the page cache.
    /// </summary>
    public void Reset(bool usesRawCopy)
    {
        foreach (var path in System.IO.Directory.EnumerateFiles(Directory).Where(path => path != Origin && path != RawCopy))
            File.Delete(path);
        if (usesRawCopy && !File.Exists(RawCopy))
            File.Copy(Origin, RawCopy);
        Sync();
        ReadThrough(usesRawCopy ? RawCopy : Origin);
    }

    /// <summary>Waits until the file system has nothing dirty.</summary>
    public void Sync() => Tool.Run("sync", ["-f", Directory], TimeSpan.FromMinutes(10), _stop);

    /// <summary>Empties the page cache, which only root may; false if that can't be done.</summary>
    public bool DropCaches()
    {
        Sync();
        try
        {
            File.WriteAllText("/proc/sys/vm/drop_caches", "3");
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>After millions of random writes this takes minutes on some file systems.</summary>
    public void Dispose()
    {
        Console.Error.WriteLine($"removing {Directory} ...");
        System.IO.Directory.Delete(Directory, recursive: true);
    }

    private void ReadThrough(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
        var piece = new byte[PieceBytes];
        while (file.Read(piece) > 0)
            _stop.ThrowIfCancellationRequested();
    }
}
