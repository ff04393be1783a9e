using System.Diagnostics;
using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>Syncs: short ones on the loop's own thread, when nobody else waits for it.</summary>
internal sealed class FileSyncs(LinuxFile file, IoLoop loop)
{
    /// <summary>A sync with more than this to write takes too long for the loop's own thread.</summary>
    private const long MaxInlineSyncBytes = 1 << 20;

    /// <summary>So does the next sync after one that took longer than this.</summary>
    private static readonly long MaxInlineSyncTicks = Stopwatch.Frequency / 1000;

    private long _unsyncedBytes, _syncStarted, _lastSyncTicks = long.MaxValue;

    /// <summary>Syncs that were made on the loop's own thread, for tests.</summary>
    public long CountInPlace { get; private set; }

    /// <summary>A sync will have so much more to do.</summary>
    public void NoteWritten(int byteCount) => _unsyncedBytes += byteCount;

    public void NoteEnd() => _lastSyncTicks = loop.Timestamp - _syncStarted;

    // io_uring hands a sync to a worker thread: two wake-ups, which take as long as the sync of a little data on a fast disk. So a sync
    // that will be short is made here, if nothing else waits for this thread.
    public void Start(BlobOperation operation)
    {
        // mutation: long-sync-in-place
        var isShort = _lastSyncTicks < MaxInlineSyncTicks && _unsyncedBytes <= MaxInlineSyncBytes;
        _unsyncedBytes = 0;
        _syncStarted = loop.Timestamp;
        // mutation: sync-in-place-while-others-wait
        if (isShort && loop.FileOperations == 1)
        {
            CountInPlace++;
            loop.CompleteSoon(operation, file.TrySyncData());
        }
        else
        {
            loop.SyncData(file.Descriptor, operation);
        }
    }
}
