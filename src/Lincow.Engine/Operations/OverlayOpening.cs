using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Operations;

/// <summary>
/// An overlay whose files have been found, opened, locked and checked, and which has no loop yet. What may take long is over then, and
/// <see cref="Places"/> tells which overlays may share a loop.
/// </summary>
internal sealed class OverlayOpening : IDisposable
{
    private readonly Func<IoLoop, OverlaySession> _begin;
    private readonly IDisposable[] _files;
    private bool _hasBegun;

    internal OverlayOpening(Func<IoLoop, OverlaySession> begin, OriginFile origin, IDisposable overlay, IReadOnlyList<FileFacts> facts)
    {
        (_begin, _files) = (begin, [overlay, origin]);
        var places = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var fact in facts)
            places.Add(BlobFacts.PlaceOf(fact));
        if (origin.Facts.Place is { Length: > 0 } below)
            places.Add(below);
        Places = string.Join(' ', places);
    }

    /// <summary>
    /// The file systems and block devices that its files lie on, "MAJOR:MINOR" each. Two overlays with the same places stand still together
    /// when one of the places does; with others they must not wait for each other.
    /// </summary>
    public string Places { get; }

    /// <summary>Makes the session, on the loop's thread. Throws <see cref="LincowException"/>; the files are closed then.</summary>
    public OverlaySession Begin(IoLoop loop)
    {
        _hasBegun = true;
        try
        {
            return _begin(loop);
        }
        catch (Exception e)
        {
            foreach (var file in _files)
                file.Dispose();
            if (e is LinuxException)
                throw new LincowException(LincowError.Of(e), e);
            throw;
        }
    }

    /// <summary>As <see cref="Begin"/>, from any thread but the loop's.</summary>
    public async Task<OverlaySession> BeginAsync(IoLoop loop)
    {
        var (session, failure) = await loop.StartUntilEnded<(OverlaySession?, LincowException?)>(ended => ended(TryBegin(loop)))
            .ConfigureAwait(false);
        return session ?? throw failure!;
    }

    private (OverlaySession? Session, LincowException? Failure) TryBegin(IoLoop loop)
    {
        try
        {
            return (Begin(loop), null);
        }
        catch (LincowException e)
        {
            return (null, e);
        }
    }

    /// <summary>Closes the files, unless a session has them.</summary>
    public void Dispose()
    {
        if (_hasBegun)
            return;
        foreach (var file in _files)
            file.Dispose();
    }
}
