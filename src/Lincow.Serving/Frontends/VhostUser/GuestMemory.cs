using Lincow.Linux;

namespace Lincow.Serving.Frontends.VhostUser;

/// <summary>
/// The guest's memory, as the front end shares it: a few regions, each a range of a file that is mapped here. An address of the guest, or
/// of the front end, is worth nothing until it has been found in a region with its whole length. What is found is touched through
/// <see cref="GuardedMemory"/> only, or by the kernel.
/// </summary>
internal sealed unsafe class GuestMemory
{
    private readonly Region[] _regions = new Region[VhostProtocol.MaxRegions];
    private int _count;

    /// <summary>
    /// The region that was found last, or none: addresses of one request mostly lie in one. A change of the regions forgets it.
    /// </summary>
    private int _last;

    /// <summary>Whether the front end has taken back memory that was in use.</summary>
    public bool IsLost
    {
        get
        {
            for (var i = 0; i < _count; i++)
            {
                if (GuardedMemory.IsLost(_regions[i].Mapping))
                    return true;
            }
            return false;
        }
    }

    /// <summary>Maps a region. Throws when it isn't one, overlaps another, or lies beyond its file's end.</summary>
    public void Add(ulong guestStart, ulong byteCount, ulong userStart, ulong fileOffset, int descriptor)
    {
        var (fileBytes, blockBytes) = SharedMemoryFile.SizeOf(descriptor, "a region of memory");
        if (_count == VhostProtocol.MaxRegions)
            throw new VhostException($"the front end shares more than {VhostProtocol.MaxRegions} regions of memory");
        if (byteCount == 0 || guestStart + byteCount < guestStart || userStart + byteCount < userStart
            || fileOffset + byteCount < fileOffset || fileOffset + byteCount > (ulong)fileBytes)
            throw new VhostException($"a region of memory, {byteCount} bytes from {fileOffset} of its file, lies beyond the file's end at "
                + $"{fileBytes} or wraps around");
        for (var i = 0; i < _count; i++)
        {
            ref var other = ref _regions[i];
            if ((guestStart < other.GuestStart + other.ByteCount && other.GuestStart < guestStart + byteCount)
                || (userStart < other.UserStart + other.ByteCount && other.UserStart < userStart + byteCount))
                throw new VhostException("two regions of memory overlap");
        }
        // Files of huge pages are mapped in whole ones; st_blksize is their size.
        var page = (ulong)Math.Max(4096, blockBytes);
        var skipped = fileOffset % page;
        var length = (skipped + byteCount + page - 1) / page * page;
        var mapping = GuardedMemory.TryMap(descriptor, (long)(fileOffset - skipped), (nuint)length, out var address);
        if (mapping < 0)
            throw new VhostException($"a region of memory can't be mapped: {Errno.Describe(-mapping)}");
        _regions[_count++] = new Region
        {
            GuestStart = guestStart,
            ByteCount = byteCount,
            UserStart = userStart,
            Host = address + (nint)skipped,
            Mapping = mapping
        };
    }

    /// <summary>Unmaps a region; nothing in flight uses it.</summary>
    public void Remove(ulong guestStart, ulong byteCount, ulong userStart)
    {
        for (var i = 0; i < _count; i++)
        {
            ref var region = ref _regions[i];
            if (region.GuestStart != guestStart || region.ByteCount != byteCount || region.UserStart != userStart)
                continue;
            GuardedMemory.Unmap(region.Mapping);
            region = _regions[--_count];
            // mutation: last-region-outlives-its-removal
            _last = 0;
            return;
        }
        throw new VhostException("the front end takes back a region of memory that it never shared");
    }

    public void Clear()
    {
        while (_count > 0)
            GuardedMemory.Unmap(_regions[--_count].Mapping);
        _last = 0;
    }

    /// <summary>
    /// Where an address of the guest is here, and how many of the bytes that are asked for lie there in one piece; 0 when it is nowhere.
    /// </summary>
    public nint FindGuest(ulong address, ulong byteCount, out ulong found)
    {
        // The last one first, then all in their order.
        for (var i = -1; i < _count && _count > 0; i++)
        {
            var index = i < 0 ? _last : i;
            ref var region = ref _regions[index];
            var offset = address - region.GuestStart;
            // mutation: ring-address-believed
            if (address < region.GuestStart || offset >= region.ByteCount)
                continue;
            _last = index;
            // mutation: ring-length-believed
            found = Math.Min(byteCount, region.ByteCount - offset);
            return region.Host + (nint)offset;
        }
        found = 0;
        return 0;
    }

    /// <summary>Where a range at an address of the front end is here; 0 when it isn't in one region as a whole.</summary>
    public nint FindUser(ulong address, ulong byteCount)
    {
        for (var i = 0; i < _count; i++)
        {
            ref var region = ref _regions[i];
            var offset = address - region.UserStart;
            if (address >= region.UserStart && offset < region.ByteCount && byteCount <= region.ByteCount - offset)
                return region.Host + (nint)offset;
        }
        return 0;
    }

    private struct Region
    {
        public ulong GuestStart, ByteCount, UserStart;
        public nint Host;
        public int Mapping;
    }
}

/// <summary>
/// What may be shared with a front end: files in memory. The first touch of any other file's page is a read of its file system, which a
/// disk, a network or somebody's FUSE server answers when it likes, and the device's loop, with all that it serves, would wait for that.
/// </summary>
internal static class SharedMemoryFile
{
    /// <summary>Size and page of a file that may be mapped; a sentence for any other. Asks nobody but the kernel.</summary>
    // mutation: memory-of-any-file-system
    public static (long Bytes, long PageBytes) SizeOf(int descriptor, string what) => DescriptorSocket.IsMemory(descriptor)
        ? DescriptorSocket.FileSize(descriptor)
        : throw new VhostException($"{what} is not a file in memory. Share memory of a memfd, tmpfs or hugetlbfs: in QEMU "
            + "memory-backend-memfd, or memory-backend-file with share=on and a mem-path in /dev/shm or on hugetlbfs");
}

/// <summary>Fields of rings in memory that others change at the same time: read and written once each, whole.</summary>
internal static unsafe class SharedFields
{
    /// <summary>
    /// A 16-bit field. The aligned word around it is read, which never leaves the page: a copy of four bytes is one load everywhere, one of
    /// two bytes is not.
    /// </summary>
    public static ushort Load16(nint address)
    {
        var word = Load32(address & ~3);
        return (ushort)((address & 2) == 0 ? word : word >> 16);
    }

    public static uint Load32(nint address)
    {
        uint value;
        GuardedMemory.Copy(address, (nint)(&value), sizeof(uint));
        return value;
    }

    public static ulong Load64(nint address)
    {
        ulong value;
        GuardedMemory.Copy(address, (nint)(&value), sizeof(ulong));
        return value;
    }

    /// <summary>
    /// Perhaps in two halves. Whoever reads a mixture has read before the barrier that follows, so what it did is seen after it.
    /// </summary>
    public static void Store16(nint address, ushort value) => GuardedMemory.Copy((nint)(&value), address, sizeof(ushort));

    public static void Store32(nint address, uint value) => GuardedMemory.Copy((nint)(&value), address, sizeof(uint));

    public static void Store64(nint address, ulong value) => GuardedMemory.Copy((nint)(&value), address, sizeof(ulong));

    public static void Store8(nint address, byte value) => GuardedMemory.Copy((nint)(&value), address, 1);

    public static byte Load8(nint address)
    {
        byte value;
        GuardedMemory.Copy(address, (nint)(&value), 1);
        return value;
    }
}
