using Lincow.Blobs;
using Lincow.Layers;
using Lincow.Origins;

namespace Lincow.Stores;

/// <summary>A store under an open device, as its session sees it: what the control plane asks of it, and what the device doesn't.</summary>
/// <param name="exceptions">Which chunks it holds, and where.</param>
/// <param name="data">Where their content lies.</param>
internal abstract class OpenStore(ExceptionStore exceptions, IBlob data) : IDisposable
{
    public ExceptionStore Exceptions { get; } = exceptions;

    public IBlob Data { get; } = data;

    /// <summary>A commit was cut off before.</summary>
    public virtual bool IsCommitUnfinished => false;

    /// <summary>It has been given up, has said so, and owes nothing to anybody.</summary>
    public virtual bool IsGivenUp => false;

    /// <summary>What dmsetup status would show after the target's name, for stores that the kernel has.</summary>
    public virtual string? DmStatus => null;

    /// <summary>
    /// How many pieces of its metadata it keeps in memory at most, and how often what was asked for was there; null where all of it is.
    /// </summary>
    public virtual (int Areas, long Hits, long Misses)? AreaCache => null;

    /// <summary>An earlier reset left space behind that hasn't been given back.</summary>
    public virtual bool IsReclaimPending => false;

    /// <summary>Where device byte 0 lies in <see cref="Data"/>, for stores in which space is given back by walking over it.</summary>
    public virtual long ReclaimShift => 0;

    /// <summary>Why it can't be emptied while it is served; null when it can.</summary>
    public abstract string? WhyNoReset { get; }

    /// <summary>
    /// Empties it, on stable storage, when no request is in flight and no flush round is running. Throws, and fails the device, when it
    /// isn't known whether that has happened.
    /// </summary>
    public abstract void Restart();

    /// <summary>For a snapshot of a live origin: remembers what the origin is like, now that nobody writes to it.</summary>
    public virtual void NoteOrigin(OriginIdentity identity)
    {
    }

    public virtual void Dispose()
    {
        Exceptions.Dispose();
        Data.Dispose();
    }
}
