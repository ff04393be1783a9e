using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>
/// Searches for data and holes, on another thread: SEEK_DATA may read a file system's map from the disk, and walk over all of it; no ring
/// knows it.
/// </summary>
internal sealed class FileSearches(LinuxFile file, IoLoop loop)
{
    private readonly Stack<RunSearch> _idle = new();
    private readonly DataSearch _findData = file.TryFindData;

    /// <summary>Searches that have been started and have not ended: they use the descriptor.</summary>
    public int Count { get; set; }

    public void Start(BlobOperation operation)
    {
        if (!_idle.TryPop(out var search))
            search = new RunSearch(_findData);
        search.Set(operation.ByteOffset, operation.ByteOffset + operation.ByteLength, operation.Runs!);
        operation.Search = search;
        // mutation: search-on-the-loop
        if (loop.BlocksOnFiles)
            loop.CompleteSoon(operation, search.Run());
        else
            loop.RunElsewhere(search, operation);
    }

    public void NoteEnd(BlobOperation operation)
    {
        _idle.Push(operation.Search!);
        (operation.Search, operation.Runs) = (null, null);
        Count--;
    }
}
