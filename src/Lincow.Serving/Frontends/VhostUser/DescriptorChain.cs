using System.Runtime.InteropServices;
using Lincow.Linux;

namespace Lincow.Serving.Frontends.VhostUser;

/// <summary>A piece of memory, here.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Segment
{
    public nint Address;
    public long ByteCount;
}

/// <summary>
/// A descriptor as it lies in a ring or in an indirect table (virtio 1.2, sections 2.7.5 and 2.8.13): the split kind ends with flags and
/// next, the packed kind with id and flags.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Descriptor
{
    public ulong Address;
    public uint Length;
    public ushort First, Second;
}

/// <summary>
/// One request of the guest, as memory: first what the device reads, then what it writes, each a sequence of bytes that may be cut anywhere
/// (virtio 1.2, section 2.7.4: nobody may depend on the framing). One object serves a front end's queues, one request after the other.
/// </summary>
internal sealed unsafe class DescriptorChain(GuestMemory memory)
{
    // Adjacent regions may cut each descriptor once more.
    private readonly Segment[] _segments = new Segment[VhostProtocol.MaxDescriptors * 2];
    private int _count, _readable, _descriptors;

    /// <summary>
    /// What the ring needs to answer: the head (split) or the buffer id (packed), the number of ring entries, the in-flight entry.
    /// </summary>
    public int Id { get; set; }

    public int RingEntries { get; set; }

    public int InflightEntry { get; set; }

    public long ReadableBytes { get; private set; }

    public long WritableBytes { get; private set; }

    public void Clear()
    {
        _count = _readable = _descriptors = RingEntries = 0;
        Id = InflightEntry = -1;
        ReadableBytes = WritableBytes = 0;
    }

    public void Add(ulong address, uint length, bool isWritable)
    {
        if (++_descriptors > VhostProtocol.MaxDescriptors)
            throw new VhostException($"a request has more than {VhostProtocol.MaxDescriptors} descriptors");
        if (length == 0)
            throw new VhostException("a descriptor has no length");
        if (!isWritable && WritableBytes > 0)
            throw new VhostException("a descriptor to read follows one to write");
        ulong left = length;
        while (left > 0)
        {
            var host = memory.FindGuest(address, left, out var found);
            if (host == 0)
                throw new VhostException($"a descriptor leads to {left} bytes at {address:x}, outside of the guest's memory");
            Append(host, (long)found, isWritable);
            // The address can't wrap around: a region doesn't.
            address += found;
            left -= found;
        }
    }

    /// <summary>Adds what an indirect table lists (virtio 1.2, sections 2.7.5.3 and 2.8.8).</summary>
    public void AddIndirect(ulong address, uint length, bool isPacked)
    {
        if (length == 0 || length % VhostProtocol.DescriptorBytes != 0)
            throw new VhostException($"an indirect table has {length} bytes, which are not descriptors");
        var table = memory.FindGuest(address, length, out var found);
        if (table == 0 || found < length)
            throw new VhostException($"an indirect table leads to {length} bytes at {address:x}, outside of the guest's memory");
        var count = length / VhostProtocol.DescriptorBytes;
        uint index = 0;
        for (uint steps = 0; ; steps++)
        {
            // mutation: indirect-loop-walked
            if (steps == count)
                throw new VhostException("an indirect table goes round in circles");
            Descriptor entry;
            GuardedMemory.Copy(table + (nint)(index * VhostProtocol.DescriptorBytes), (nint)(&entry), VhostProtocol.DescriptorBytes);
            var flags = isPacked ? entry.Second : entry.First;
            if ((flags & VhostProtocol.DescriptorIndirect) != 0)
                throw new VhostException("an indirect table has an indirect descriptor");
            Add(entry.Address, entry.Length, (flags & VhostProtocol.DescriptorWrite) != 0);
            if (isPacked ? steps + 1 == count : (flags & VhostProtocol.DescriptorNext) == 0)
                return;
            index = isPacked ? index + 1 : entry.Second;
            if (index >= count)
                throw new VhostException($"an indirect table of {count} descriptors goes on at {index}");
        }
    }

    /// <summary>Copies bytes that the guest wrote.</summary>
    public void Read(long offset, nint target, long byteCount) => Walk(0, _readable, offset, target, byteCount, intoGuest: false);

    /// <summary>Copies bytes to where the guest wants them.</summary>
    public void Write(long offset, nint source, long byteCount) => Walk(_readable, _count, offset, source, byteCount, intoGuest: true);

    /// <summary>Where a range of what the device reads or writes lies, when it is in one piece; otherwise 0.</summary>
    public nint FindWhole(bool isWritable, long offset, long byteCount)
    {
        var end = isWritable ? _count : _readable;
        for (var i = isWritable ? _readable : 0; i < end; i++)
        {
            ref var segment = ref _segments[i];
            if (offset < segment.ByteCount)
                return byteCount <= segment.ByteCount - offset ? segment.Address + (nint)offset : 0;
            offset -= segment.ByteCount;
        }
        return 0;
    }

    public int WritableSegments => _count - _readable;

    /// <summary>Copies the list of what the device writes, for later: this object is the next request's by then.</summary>
    public void CopyWritable(Segment* target)
    {
        for (var i = _readable; i < _count; i++)
            target[i - _readable] = _segments[i];
    }

    private void Append(nint host, long byteCount, bool isWritable)
    {
        if (isWritable)
            WritableBytes += byteCount;
        else
            ReadableBytes += byteCount;
        var isFirst = _count == (isWritable ? _readable : 0);
        if (!isFirst && _segments[_count - 1].Address + (nint)_segments[_count - 1].ByteCount == host)
        {
            _segments[_count - 1].ByteCount += byteCount;
            return;
        }
        if (_count == _segments.Length)
            throw new VhostException("a request has too many pieces");
        _segments[_count++] = new Segment { Address = host, ByteCount = byteCount };
        if (!isWritable)
            _readable = _count;
    }

    private void Walk(int from, int to, long offset, nint other, long byteCount, bool intoGuest)
    {
        for (var i = from; i < to && byteCount > 0; i++)
        {
            ref var segment = ref _segments[i];
            if (offset >= segment.ByteCount)
            {
                offset -= segment.ByteCount;
                continue;
            }
            var count = Math.Min(byteCount, segment.ByteCount - offset);
            var address = segment.Address + (nint)offset;
            GuardedMemory.Copy(intoGuest ? other : address, intoGuest ? address : other, (nuint)count);
            other += (nint)count;
            byteCount -= count;
            offset = 0;
        }
    }
}
