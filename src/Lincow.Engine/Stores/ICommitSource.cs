using Lincow.Layers;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Requests;

namespace Lincow.Stores;

/// <summary>Where a commit goes.</summary>
/// <param name="Uri">The origin, as it is remembered.</param>
/// <param name="Identity">What it was like when it was recognised.</param>
/// <param name="ZeroesAreHoles">Zeroes become holes in it, which cost next to nothing.</param>
/// <param name="DeviceBytes">The device's size.</param>
internal readonly record struct CommitTarget(string Uri, OriginIdentity Identity, bool ZeroesAreHoles, long DeviceBytes);

/// <summary>A run of the device that the overlay holds.</summary>
/// <param name="ByteOffset">Where it lies in the device, and in the origin.</param>
/// <param name="ByteLength">Its length.</param>
/// <param name="SourceOffset">Where it lies in the overlay's data; negative for zeroes.</param>
internal readonly record struct CommitRun(long ByteOffset, long ByteLength, long SourceOffset);

/// <summary>An overlay, as a commit sees it.</summary>
internal interface ICommitSource : IDisposable
{
    /// <summary>Where runs are read.</summary>
    LinuxFile Data { get; }

    long DeviceBytes { get; }

    int ChunkBytes { get; }

    /// <summary>From 0 to 1, after each <see cref="Forget"/>.</summary>
    double Progress { get; }

    /// <summary>The next runs, in order; false when nothing is left. Throws before the first of them if the overlay is damaged.</summary>
    bool TryTake(List<CommitRun> runs);

    /// <summary>
    /// The runs are on the origin's stable storage. On return the overlay doesn't hold them any more, on its own stable storage.
    /// </summary>
    void Forget(List<CommitRun> runs);

    /// <summary>
    /// From here on the origin is written to. On return the overlay says so, and that the origin's content isn't known, on its own stable
    /// storage.
    /// </summary>
    void Begin();

    /// <summary>The origin has not been written to after all: the overlay says what it said before <see cref="Begin"/>.</summary>
    void Withdraw();

    /// <summary>All is done: this is what the origin is like from now on.</summary>
    void Complete(OriginIdentity origin);
}

/// <summary>A run of the device, with where it begins.</summary>
internal readonly record struct PlacedExtent(long Start, long ByteLength, RunSource Source)
{
    public long End => Start + ByteLength;
}

/// <summary>A device over a store, for one who waits for each of its requests: what a commit may ask of the rooms above.</summary>
internal interface IStoreDevice : IDisposable
{
    Geometry Geometry { get; }

    ExceptionStore Store { get; }

    /// <summary>Where each range of the device comes from, in order; neighbours differ.</summary>
    IEnumerable<PlacedExtent> Extents();

    /// <summary>Waits for a flush. Throws <see cref="LincowException"/> when it fails.</summary>
    void Flush();
}
