using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Stores.DmSnapshot;
using Lincow.Stores.Linear;

namespace Lincow.Operations;

/// <summary>Finds, opens and recognises an origin. Opened read-only; a shared lock keeps overlays that are being written from serving as one.</summary>
internal sealed class OriginFile : IDisposable
{
    /// <summary>The byte that origins are locked on, shared, and overlays exclusively: "LINCOW" as a number, beyond anyone's content.</summary>
    public const long LockByte = 0x4c494e434f57;

    /// <summary>The byte that a process holds exclusively while it serves the origin itself, for writing, with snapshots of it.</summary>
    public const long LiveByte = LockByte + 1;

    private const string ZeroPrefix = "zero:";

    private readonly LinuxFile? _file;
    private readonly UserOrigin? _user;

    internal OriginFile(string uri, OriginIdentity identity, LinuxFile? file) => (Uri, Identity, _file) = (uri, identity, file);

    private OriginFile(UserOrigin user)
    {
        OverlayCreator.RequireSize(user.SizeBytes, user.Name);
        (Uri, Identity, _user) = ("user:" + user.Name, OriginIdentity.Of(user), user);
    }

    /// <summary>An absolute path, zero:SIZE, or user:NAME.</summary>
    public string Uri { get; }

    public OriginIdentity Identity { get; }

    public int AlignmentBytes => _file is { IsDirect: true } ? _file.LogicalBlockBytes : 1;

    public FileFacts? Facts => _file?.Facts;

    /// <summary>The form in which an origin is remembered: zero:SIZE as it is, a path made absolute (links are kept).</summary>
    public static string Normalize(string uri) => IsPath(uri) ? Path.GetFullPath(uri) : uri;

    /// <summary>Whether it leads to a file.</summary>
    public static bool IsPath(string uri) => !uri.StartsWith(ZeroPrefix, StringComparison.Ordinal);

    /// <summary>Opens it. Throws <see cref="LincowException"/> with a sentence for everything that can't be an origin.</summary>
    /// <param name="uri">A path, or zero:SIZE.</param>
    /// <param name="direct">Bypass the page cache where the origin's size allows it.</param>
    /// <param name="isLive">It is written to meanwhile, by this process, which sees to it that overlays don't notice.</param>
    public static OriginFile Open(string uri, bool direct = false, bool isLive = false)
    {
        if (!IsPath(uri))
        {
            var bytes = SizeText.Parse(uri[ZeroPrefix.Length..], "origin");
            return new OriginFile(uri, new OriginIdentity(OriginKind.Zero, bytes, 0, 0, 0), null);
        }
        if (uri.Length == 0)
            throw new LincowException("the origin's path is empty. Give a file, a block device or zero:SIZE");
        var scheme = uri.IndexOf("://", StringComparison.Ordinal);
        if (scheme > 0)
            throw new LincowException($"{uri}: origins of the kind '{uri[..scheme]}' are not there yet. Give a file, a block device or zero:SIZE");
        var path = Path.GetFullPath(uri);
        var file = OpenPath(path);
        try
        {
            Require(file);
            var identity = OriginIdentity.Of(file);
            if (direct && identity.SizeBytes % file.LogicalBlockBytes == 0)
            {
                using var buffered = file;
                file = file.Reopen(writable: false, direct: true);
            }
            if (!file.TryLock(LockByte, exclusive: false))
                throw new LincowException($"{path}: is an overlay that {LockHolder.Find(file.Facts) ?? "another process"} is writing, so it can't be an origin now. Stop that process first");
            if (!isLive && file.IsLockedElsewhere(LiveByte))
                throw new LincowException($"{path}: is being written by {LockHolder.Find(file.Facts) ?? "another process"}, which serves it with snapshots of it. Serve this overlay there, too, or stop that process first");
            RequireNoOverlay(file);
            return new OriginFile(path, identity, file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The origin that a program gives, or else the one of that name.</summary>
    public static OriginFile Open(UserOrigin? user, string uri, bool direct = false, bool isLive = false) => user is null ? Open(uri, direct, isLive) : new OriginFile(user);

    /// <summary>The very same file or block device, for writing; a block device is claimed. Throws <see cref="LinuxException"/>.</summary>
    public LinuxFile Reopen() => (_file ?? throw new InvalidOperationException("an origin of nothing has no file")).Reopen(writable: true, exclusiveDevice: true);

    public Origin OnLoop(IoLoop loop) => new(Uri, Identity, _user is not null ? new UserBlob(_user, loop) : _file is null ? null : new FileBlob(_file, loop));

    /// <summary>Reads it in place; beyond its end there are zeroes.</summary>
    public void Read(Span<byte> buffer, long byteOffset)
    {
        var read = _file is null || byteOffset >= Identity.SizeBytes ? 0 : _file.Read(buffer, byteOffset);
        buffer[read..].Clear();
    }

    public void Dispose()
    {
        _file?.Dispose();
        _user?.Dispose();
    }

    // Its raw bytes, superblock and map in front, are not what anybody means by an origin.
    private static void RequireNoOverlay(LinuxFile file)
    {
        using var head = new AlignedBytes(2 * Superblock.SizeBytes);
        var bytes = file.Read(head.Span, 0);
        var isOverlay = bytes == head.Span.Length && SuperblockFile.Decode(head.Span, file.Path).Current is not null;
        isOverlay |= bytes >= SnapshotHeader.SizeBytes && SnapshotHeader.Decode(head.Span[..SnapshotHeader.SizeBytes], out _) is not null;
        // mutation: overlay-as-origin-without-cache
        if (isOverlay)
            throw new LincowException($"{file.Path}: is itself a lincow overlay, and overlays over overlays are not there yet. Copy its device to an image first: lincow run {file.Path} -- sh -c 'nbdcopy \"$LINCOW_URI\" image'");
    }

    private static void Require(LinuxFile file)
    {
        var kind = file.Facts.Kind switch
        {
            FileKind.Regular or FileKind.BlockDevice => null,
            FileKind.Directory => "a directory",
            FileKind.CharacterDevice => "a character device",
            FileKind.Pipe => "a pipe",
            FileKind.Socket => "a socket",
            _ => "not a file",
        };
        if (kind is not null)
            throw new LincowException($"{file.Path}: is {kind}, and an origin must be a regular file, a block device or zero:SIZE");
    }

    private static LinuxFile OpenPath(string path)
    {
        try
        {
            return LinuxFile.Open(path, writable: false);
        }
        catch (LinuxException e) when (e.Errno == Errno.NoEntry)
        {
            throw new LincowException($"{path}: the origin does not exist. If it was moved, give its new place with --origin", e);
        }
        catch (LinuxException e)
        {
            throw new LincowException($"{path}: the origin can't be opened: {e.Reason}", e);
        }
    }
}
