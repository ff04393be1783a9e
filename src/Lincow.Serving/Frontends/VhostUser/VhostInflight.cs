using Lincow.Linux;

namespace Lincow.Serving.Frontends.VhostUser;

/// <summary>
/// The memory that outlives a back end: the front end keeps it and hands it to the next one (vhost-user.rst, "Inflight I/O tracking"). A
/// region for each queue, with the record of its ring, and after them what the next back end has to know of the whole:
///
///     0   which opening of the device wrote this
///     8   whether the guest has been told of a write that would be lost with this process
///     16  whether the guest wants every write to be there when it ends
///
/// A server that is killed takes with it the states of chunks that were first written since the last flush, and a guest that goes on would
/// be shown older content than it wrote. It isn't: such a record is refused, and the guest has to be restarted, as after a power cut. After
/// a clean end, or when everything was flushed or forced or went to chunks that the overlay held already, the guest goes on and notices
/// nothing. With a transient overlay a guest that has written anything can't go on.
/// </summary>
internal sealed class VhostInflight
{
    /// <summary>Of a queue's region: room for either kind of ring, in whole cache lines.</summary>
    private const int HeadBytes = 32, EntryBytes = 32, Alignment = 64;

    private const int InstanceAt = 0, UnflushedAt = 8, WriteThroughAt = 16, TailBytes = 64;

    private readonly int _mapping, _queues, _entries;
    private readonly bool _canFlush;
    private readonly nint _address, _tail;
    private ulong _written, _flushed;

    /// <summary>
    /// Maps the memory that a front end hands over. Throws when it is too short, or the guest can't go on with this server.
    /// </summary>
    public VhostInflight(int descriptor, ulong byteCount, ulong fileOffset, int queues, int entries, ulong instance, bool canFlush)
    {
        var fileBytes = SharedMemoryFile.SizeOf(descriptor, "the memory for requests in flight").Bytes;
        if (byteCount < (ulong)BytesFor(queues, entries) || fileOffset % 4096 != 0 || fileOffset + byteCount < fileOffset
            || fileOffset + byteCount > (ulong)fileBytes)
            throw new VhostException($"the memory for requests in flight, {byteCount} bytes from {fileOffset} of a file of {fileBytes}, "
                + "is too short");
        _mapping = GuardedMemory.TryMap(descriptor, (long)fileOffset, (nuint)byteCount, out _address);
        if (_mapping < 0)
            throw new VhostException($"the memory for requests in flight can't be mapped: {Errno.Describe(-_mapping)}");
        _canFlush = canFlush;
        (_queues, _entries, _tail) = (queues, entries, _address + (nint)queues * StrideOf(entries));
        _written = SharedFields.Load64(_tail + UnflushedAt) != 0 ? 1u : 0;
        // mutation: real-lost-write-hidden
        if (_written != 0 && SharedFields.Load64(_tail + InstanceAt) != instance)
        {
            Unmap();
            throw new VhostException("an earlier server was killed before it had flushed what the guest wrote. The guest can't go on with "
                + "that lost; restart it");
        }
        SharedFields.Store64(_tail + InstanceAt, instance);
    }

    public bool IsLost => GuardedMemory.IsLost(_mapping);

    /// <summary>Whether the guest has been told of a write that would be lost with this process.</summary>
    public bool IsUnflushed => _written != _flushed;

    public bool IsWriteThrough
    {
        get => SharedFields.Load64(_tail + WriteThroughAt) != 0;
        set => SharedFields.Store64(_tail + WriteThroughAt, value ? 1u : 0);
    }

    /// <summary>Such writes that have ended; what a flush that begins now covers.</summary>
    public ulong Written => _written;

    public static long BytesFor(int queues, int entries) => (long)queues * StrideOf(entries) + TailBytes;

    public nint RegionOf(int queue, int entries) => queue < _queues && entries <= _entries
        ? _address + queue * StrideOf(_entries)
        : throw new VhostException($"queue {queue} with {entries} descriptors has no place in the memory for requests in flight");

    /// <summary>The guest is about to hear of a write that would be lost with this process.</summary>
    public void NoteWrite()
    {
        if (_written++ == _flushed)
            SharedFields.Store64(_tail + UnflushedAt, 1);
    }

    /// <summary>The guest is about to hear that so many writes are on stable storage.</summary>
    public void NoteFlush(ulong written)
    {
        // mutation: real-transient-goes-on (2 lines)
        if (!_canFlush)
            return;
        _flushed = Math.Max(_flushed, written);
        if (_flushed == _written)
            SharedFields.Store64(_tail + UnflushedAt, 0);
    }

    public void Unmap() => GuardedMemory.Unmap(_mapping);

    private static int StrideOf(int entries) => (HeadBytes + EntryBytes * entries + Alignment - 1) & -Alignment;
}
