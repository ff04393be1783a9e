using Lincow.Blobs;
using Lincow.Linux;

namespace Lincow.Origins;

/// <summary>An origin that is open. Opened read-only; a shared lock keeps overlays that are being written from serving as one.</summary>
internal sealed class OriginFile : IDisposable
{
    /// <summary>
    /// The byte that origins are locked on, shared, and overlays exclusively: "LINCOW" as a number, beyond anyone's content.
    /// </summary>
    public const long LockByte = 0x4c494e434f57;

    /// <summary>The byte that a process holds exclusively while it serves the origin itself, for writing, with snapshots of it.</summary>
    public const long LiveByte = LockByte + 1;

    private readonly LinuxFile? _file;
    private readonly UserOrigin? _user;

    internal OriginFile(string uri, OriginIdentity identity, LinuxFile? file) : this(OriginReference.Parse(uri), identity, file)
    {
    }

    private OriginFile(OriginReference reference, OriginIdentity identity, LinuxFile? file) =>
        (Reference, Identity, _file) = (reference, identity, file);

    private OriginFile(UserOrigin user)
    {
        DeviceSize.Require(user.SizeBytes, user.Name);
        (Reference, Identity, _user) = (OriginReference.Program(user.Name), OriginIdentity.Of(user), user);
    }

    public OriginReference Reference { get; }

    /// <summary>The reference's text: an absolute path, zero:SIZE, or user:NAME.</summary>
    public string Uri => Reference.Text;

    public OriginIdentity Identity { get; }

    public int AlignmentBytes => _file is { IsDirect: true } ? _file.LogicalBlockBytes : 1;

    public FileFacts? Facts => _file?.Facts;

    /// <summary>Opens it. Throws <see cref="LincowException"/> with a sentence for everything that can't be an origin.</summary>
    /// <param name="reference">What the user named, or an overlay remembers.</param>
    /// <param name="refuse">Told of the open file; throws when this one can't be an origin, for it is an overlay's.</param>
    /// <param name="direct">Bypass the page cache where the origin's size allows it.</param>
    /// <param name="isLive">It is written to meanwhile, by this process, which sees to it that overlays don't notice.</param>
    public static OriginFile Open(OriginReference reference, Action<LinuxFile> refuse, bool direct = false, bool isLive = false)
    {
        if (reference.IsNothing)
            return new OriginFile(reference, new OriginIdentity(OriginKind.Zero, reference.ParseSizeBytes(), 0, 0, 0), null);
        if (reference.Text.Length == 0)
            throw new LincowException(OriginErrors.PathEmpty());
        if (reference.Kind == OriginReferenceKind.Remote)
            throw new LincowException(OriginErrors.KindUnsupported(reference.ToString(), reference.Scheme));
        var path = reference.Text;
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
                throw new LincowException(OriginErrors.BeingWritten(path, LockHolder.Find(file.Facts) ?? "another process"));
            if (!isLive && file.IsLockedElsewhere(LiveByte))
                throw new LincowException(OriginErrors.Live(path, LockHolder.Find(file.Facts) ?? "another process"));
            refuse(file);
            return new OriginFile(reference, identity, file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The origin that a program gives.</summary>
    public static OriginFile Of(UserOrigin user) => new(user);

    /// <summary>The very same file or block device, for writing; a block device is claimed. Throws <see cref="LinuxException"/>.</summary>
    public LinuxFile Reopen() => (_file ?? throw new InvalidOperationException("an origin of nothing has no file"))
        .Reopen(writable: true, exclusiveDevice: true);

    public Origin OnLoop(IoLoop loop) =>
        new(Uri, Identity, _user is not null ? new UserBlob(_user, loop) : _file is null ? null : new FileBlob(_file, loop));

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
            throw new LincowException(OriginErrors.KindWrong(file.Path, kind));
    }

    private static LinuxFile OpenPath(string path)
    {
        try
        {
            return LinuxFile.Open(path, writable: false);
        }
        catch (LinuxException e) when (e.Errno == Errno.NoEntry)
        {
            throw new LincowException(OriginErrors.Missing(path), e);
        }
        catch (LinuxException e)
        {
            throw new LincowException(OriginErrors.Unopenable(path, e), e);
        }
    }
}
