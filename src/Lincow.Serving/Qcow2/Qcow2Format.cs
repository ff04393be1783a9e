using System.Text.Json;
using Lincow.Conversion;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Stores;

namespace Lincow.Serving.Qcow2;

/// <summary>qcow2 overlays, through qemu's own programs: qemu-img says what has changed, qemu-nbd reads and writes it.</summary>
internal sealed class Qcow2Format : IChangeFormat
{
    private const int MinCluster = 512, UsualMinCluster = 4096, MaxCluster = 2 << 20;

    /// <summary>qemu keeps the first of two tables in memory, and limits it to 32 MiB.</summary>
    private const long MaxFirstTableEntries = (32 << 20) / 8;

    public string Name => "qcow2";

    public bool Recognises(LinuxFile file, ReadOnlySpan<byte> head) => Qcow2Header.HasMagic(head);

    public IChangeSource Open(ChangeSourceOptions options) => new Qcow2Source(options);

    public int ChunkFor(long? wanted, int source, long deviceBytes)
    {
        var cluster = wanted ?? Math.Clamp(source, UsualMinCluster, MaxCluster);
        while (wanted is null && !Fits(cluster, deviceBytes) && cluster < MaxCluster)
            cluster *= 2;
        if (cluster is < MinCluster or > MaxCluster || !System.Numerics.BitOperations.IsPow2(cluster))
            throw new LincowException(Qcow2Errors.ClusterInvalid(cluster));
        return Fits(cluster, deviceBytes) ? (int)cluster
            : throw new LincowException(Qcow2Errors.ClusterTooSmall(cluster, deviceBytes, isLargest: cluster >= MaxCluster));
    }

    public IChangeSink Create(ChangeSinkOptions options) => new Qcow2Sink(options);

    private static bool Fits(long cluster, long deviceBytes) => deviceBytes / (cluster * (cluster / 8)) < MaxFirstTableEntries;
}

/// <summary>Opened with the origin that was decided on as its only backing file, so that no name in its header is followed.</summary>
internal sealed class Qcow2Source : IChangeSource
{
    private readonly string _path;
    private readonly Qcow2Header _header;
    private readonly QemuServer _server;

    public Qcow2Source(ChangeSourceOptions options)
    {
        _path = options.Path;
        using (var file = LinuxFile.Open(_path, writable: false, exclusiveDevice: true))
        {
            var head = new byte[(int)Math.Min(Qcow2Header.MaxBytes, file.Facts.SizeBytes)];
            file.Read(head, 0);
            _header = Qcow2Header.Decode(head, out var problem) ?? throw new LincowException(Qcow2Errors.HeaderUnreadable(_path, problem));
        }
        // qemu rounds up as well.
        DeviceBytes = (_header.SizeBytes + 511) / 512 * 512;
        OriginUri = ChooseOrigin(options.Origin);
        _server = new QemuServer(_path, "--read-only", QemuPrograms.Open(_path, OriginPath));
        if (_server.Client.SizeBytes == DeviceBytes)
            return;
        _server.Dispose();
        throw new LincowException(Qcow2Errors.SizeDiffers(_path, _server.Client.SizeBytes, _header.SizeBytes));
    }

    public long DeviceBytes { get; }

    public int GranularityBytes => _header.GranularityBytes;

    public string OriginUri { get; }

    private string? OriginPath => OriginReference.Parse(OriginUri).FilePath;

    public IEnumerable<ChangedRange> Changes()
    {
        // Without its backing file, what isn't in it is not present; one entry a line, the line's end being a comma or the list's end.
        foreach (var line in QemuPrograms.Image(_path, "map", "--output=json", QemuPrograms.Open(_path, origin: null)))
        {
            var entry = line.Trim().TrimStart('[').TrimEnd(']', ',');
            if (entry.Length == 0)
                continue;
            using var json = JsonDocument.Parse(entry);
            var range = json.RootElement;
            if (!range.TryGetProperty("present", out var isPresent))
                throw new LincowException(Qcow2Errors.ImageTooOld(_path));
            var (start, length) = (range.GetProperty("start").GetInt64(), range.GetProperty("length").GetInt64());
            if (isPresent.GetBoolean() && start < DeviceBytes)
                yield return new ChangedRange(start, Math.Min(length, DeviceBytes - start), range.GetProperty("zero").GetBoolean()
                    && !range.GetProperty("data").GetBoolean());
        }
    }

    public void Read(long byteOffset, Span<byte> buffer) => _server.Client.Read(byteOffset, buffer);

    public void Dispose() => _server.Dispose();

    private static bool IsNothing(string uri) => OriginReference.Parse(uri).IsNothing;

    private string ChooseOrigin(string? chosen)
    {
        if (chosen is not null && IsNothing(chosen))
            return chosen;
        if (chosen is null && _header.BackingFile is null)
            return OriginReference.Nothing(DeviceBytes).Text;
        if (chosen is null && _header.BackingFormat is { } format and not "raw")
            throw new LincowException(Qcow2Errors.BackingIsImage(_path, _header.BackingFile, format));
        var reference = OriginReference.Parse(RecordedOrigin.Resolve(_path, _header.BackingFile ?? "", chosen));
        var origin = reference.Place;
        if (!File.Exists(origin))
            throw new LincowException(Qcow2Errors.OriginMissing(origin));
        if (reference.IsRaw)
            return reference.Text;
        using var file = LinuxFile.Open(origin, writable: false);
        var head = new byte[4];
        if (file.Read(head, 0) == head.Length && Qcow2Header.HasMagic(head))
            throw new LincowException(Qcow2Errors.OriginIsImage(origin));
        return origin;
    }
}

/// <summary>An empty overlay made by qemu-img, filled through qemu-nbd.</summary>
internal sealed class Qcow2Sink : IChangeSink
{
    private readonly LinuxFile _file;
    private readonly QemuServer _server;
    private bool _isOpen = true;

    public Qcow2Sink(ChangeSinkOptions options)
    {
        _file = options.File;
        if (_file.Facts.Kind != FileKind.Regular)
            throw new LincowException(Qcow2Errors.NotRegular(_file.Path));
        var isOverNothing = OriginReference.Parse(options.OriginUri).IsNothing;
        var originPath = OriginReference.Parse(options.OriginUri).FilePath;
        string[] backing = isOverNothing ? [] : ["-b", originPath!, "-F", "raw"];
        foreach (var _ in QemuPrograms.Image(_file.Path,
            ["create", "-q", "-f", "qcow2", "-o", $"cluster_size={options.ChunkBytes}", .. backing, _file.Path, $"{options.DeviceBytes}"]))
        {
        }
        _server = new QemuServer(_file.Path, QemuPrograms.Open(_file.Path, originPath));
    }

    public void Begin()
    {
    }

    public void Write(long byteOffset, ReadOnlySpan<byte> content) => _server.Client.Write(byteOffset, content);

    public void Zero(long byteOffset, long byteLength) => _server.Client.Zero(byteOffset, byteLength);

    public void Complete()
    {
        _server.Client.Flush();
        Dispose();
        _file.Sync();
    }

    public void Dispose()
    {
        if (_isOpen)
            _server.Dispose();
        _isOpen = false;
    }
}
