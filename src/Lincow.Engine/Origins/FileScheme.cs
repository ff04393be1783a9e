using Lincow.Blobs;
using Lincow.Linux;

namespace Lincow.Origins;

/// <summary>A regular file or a block device, by its path. A relative path is one from the current directory.</summary>
internal sealed class FileScheme : IOriginScheme
{
    public static readonly FileScheme Instance = new();

    // The empty text is the empty path, which nothing can be opened by.
    public string? TryParse(string text) => text.Length == 0 ? text : LinuxPath.Full(text);

    public async ValueTask<IBlobControl> OpenAsync(string name, CancellationToken stop)
    {
        if (name.Length == 0)
            throw new LincowException(OriginErrors.PathEmpty());
        stop.ThrowIfCancellationRequested();
        await BlobControlWait.LeaveLoop();
        var file = OpenPath(name);
        try
        {
            Require(file);
            return new FileControl(file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    public string? PathOf(string name) => name;

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
