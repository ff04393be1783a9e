using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Lincow.Tests.Serving.Frontends.VhostUser;

/// <summary>A request that the guest has made: where its parts are, and its answer.</summary>
internal sealed class GuestRequest
{
    public int Queue, Id;
    public ulong Header, Data, Status;
    public int DataBytes;
    public byte? Result;
    public uint Written;
}

/// <summary>
/// A virtual machine's side of vhost-user: memory in a memfd in two regions, rings in it, and the messages of a front end (vhost-user.rst).
/// Its memory and rings outlive a connection, so it can go on with another back end.
/// </summary>
internal sealed unsafe partial class VhostGuest : IDisposable
{
    public const ulong GuestBase = 0x100000, SecondBase = 0x80000000, UserBase = 0x700000000000;
    public const int RegionBytes = 8 << 20, QueueBytes = 64 << 10, WaitMilliseconds = 20_000;
    private const int PageBytes = 4096;

    /// <summary>Of memfd_create: programs that another test starts meanwhile must not have the memory.</summary>
    private const uint CloseOnExec = 1;

    private readonly int _memory, _inflightEntries;
    private readonly int[] _kicks, _calls;
    private readonly Dictionary<(int Queue, int Id), GuestRequest> _pending = [];
    private int _socket = -1, _inflight = -1;
    private byte[] _inflightShape = [];
    private ulong _next;
    private nint _lastTable;

    public VhostGuest(RingKind kind)
    {
        Kind = kind;
        _inflightEntries = kind.Entries;
        _memory = MemfdCreate("guest", CloseOnExec);
        _ = Truncate(_memory, 2 * RegionBytes);
        Memory = (byte*)Mmap(0, 2 * RegionBytes, 3, 1, _memory, 0);
        Rings = new DriverRing[kind.Queues];
        (_kicks, _calls) = (new int[kind.Queues], new int[kind.Queues]);
        for (var i = 0; i < kind.Queues; i++)
        {
            var start = Memory + i * QueueBytes;
            byte* table = start, driver = start + QueueBytes / 2, device = start + QueueBytes * 3 / 4;
            Rings[i] = kind.IsPacked
                ? new PackedDriver(table, driver, device, kind, Allocate, () => _lastTable)
                : new SplitDriver(table, driver, device, kind, Allocate, () => _lastTable);
            (_kicks[i], _calls[i]) = (EventFd(0, 0x800), EventFd(0, 0x800));
        }
        FreeAll();
    }

    public RingKind Kind { get; }

    public byte* Memory { get; }

    public DriverRing[] Rings { get; }

    public ulong Features { get; private set; }

    /// <summary>Features of the device that this driver doesn't take.</summary>
    public ulong Refused { get; init; }

    public int Pending => _pending.Count;

    public bool HasPending(int queue) => _pending.Keys.Any(key => key.Queue == queue);

    /// <summary>The connection, and the memory: descriptors of the wrong kind where others are wanted.</summary>
    public int Socket => _socket;

    public int Descriptor => _memory;

    /// <summary>Kicks that the device asked for.</summary>
    public int Kicks { get; private set; }

    /// <summary>Negotiates, shares its memory and starts its queues; from a ring's present state if an earlier back end is gone.</summary>
    public void Connect(int socket)
    {
        if (_socket >= 0)
            _ = Close(_socket);
        _socket = socket;
        _ = Call(3, []);
        Features = U64(Call(1, [], reply: true)) & ~Refused;
        Assert.True((Features & 1UL << 30) != 0 && (Features & 1UL << 32) != 0);
        var protocol = U64(Call(15, [], reply: true));
        Assert.Equal(1UL << 0 | 1 << 3 | 1 << 5 | 1 << 9 | 1 << 12 | 1 << 13 | 1 << 15, protocol);
        _ = Call(16, Number(protocol));
        Acknowledged(2, Number(Features & ~((Kind.IsPacked ? 0 : 1UL << 34) | (Kind.HasEventIndex ? 0 : 1UL << 29)
            | (Kind.IsIndirect ? 0 : 1UL << 28))));
        Assert.True(U64(Call(17, [], reply: true)) >= (ulong)Kind.Queues);
        if (Kind.HasInflight)
            ShareInflight();
        ShareMemory();
        for (var i = 0; i < Kind.Queues; i++)
            StartQueue(i, Rings[i].Base);
    }

    public void ShareMemory()
    {
        byte[] table = [2, 0, 0, 0, 0, 0, 0, 0, .. Region(GuestBase, 0), .. Region(SecondBase, RegionBytes)];
        Acknowledged(5, table, _memory, _memory);
    }

    public void StartQueue(int index, uint from)
    {
        Acknowledged(8, State(index, (uint)Kind.Entries));
        Acknowledged(10, State(index, from));
        Acknowledged(9, Addresses(index));
        Acknowledged(13, Number((ulong)index), _calls[index]);
        Acknowledged(12, Number((ulong)index), _kicks[index]);
        Acknowledged(18, State(index, 1));
    }

    /// <summary>Starts a queue that was never stopped by a message; refused or not.</summary>
    public void RestartWithoutStop(int index) => _ = Ask(12, Number((ulong)index), _kicks[index]);

    public static byte[] Addresses(int index)
    {
        var start = UserBase + (ulong)(index * QueueBytes);
        return [.. State(index, 0), .. Number(start), .. Number(start + QueueBytes * 3 / 4), .. Number(start + QueueBytes / 2),
            .. Number(0)];
    }

    /// <summary>Stops a queue; where it would go on.</summary>
    public uint StopQueue(int index) => BinaryPrimitives.ReadUInt32LittleEndian(Call(11, State(index, 0), reply: true).AsSpan(4));

    public static byte[] Region(ulong guest, int fileOffset) =>
        [.. Number(guest), .. Number(RegionBytes), .. Number(UserBase + (ulong)fileOffset), .. Number((ulong)fileOffset)];

    public static byte[] State(int index, uint value) => [.. Number((uint)index | (ulong)value << 32)];

    public static byte[] Number(ulong value)
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return bytes;
    }

    public static ulong U64(byte[] bytes) => BinaryPrimitives.ReadUInt64LittleEndian(bytes);

    /// <summary>Sends a message; with a reply, its payload.</summary>
    public byte[] Call(uint request, byte[] payload, bool reply = false, params int[] descriptors)
    {
        Send(request, 1, payload, descriptors);
        return reply ? Receive(request) : [];
    }

    /// <summary>Sends a message that asks for an acknowledgement; 0 when it was done.</summary>
    public ulong Ask(uint request, byte[] payload, params int[] descriptors)
    {
        Send(request, 9, payload, descriptors);
        return U64(Receive(request));
    }

    public void Acknowledged(uint request, byte[] payload, params int[] descriptors) =>
        Assert.True(Ask(request, payload, descriptors) == 0, $"message {request} was refused");

    /// <summary>True when the back end closes the connection.</summary>
    public bool IsClosed()
    {
        byte one;
        return ReadFully(&one, 1) == 0;
    }

    public ulong Allocate(int bytes)
    {
        // Across both regions, and never across their border.
        var size = (ulong)(bytes + 15 & ~15);
        if (_next % RegionBytes + size > RegionBytes)
            _next = RegionBytes;
        Assert.True(_next + size <= 2 * RegionBytes, "the guest has no memory left");
        var at = _next;
        _next += size;
        _lastTable = (nint)(Memory + at);
        return at < RegionBytes ? GuestBase + at : SecondBase + (at - RegionBytes);
    }

    /// <summary>Forgets all buffers; requests in flight still use theirs.</summary>
    public void FreeAll() => _next = (ulong)(Kind.Queues * QueueBytes);

    /// <summary>So that the next buffer begins at a page.</summary>
    public void AlignPage() => _next = (_next + PageBytes - 1) / PageBytes * PageBytes;

    public byte* At(ulong address) => Memory + (address >= SecondBase ? address - SecondBase + RegionBytes : address - GuestBase);

    public Span<byte> Bytes(ulong address, int count) => new(At(address), count);

    /// <summary>Makes a request: its data in so many pieces, the header and the status cut as the numbers say.</summary>
    public GuestRequest Submit(uint type, ulong sector, byte[]? data, int readBytes = 0, int pieces = 1, int queue = 0, bool kick = true)
    {
        var request = new GuestRequest
        {
            Queue = queue,
            Header = Allocate(16),
            Status = Allocate(1),
            DataBytes = data?.Length ?? readBytes
        };
        BinaryPrimitives.WriteUInt32LittleEndian(Bytes(request.Header, 16), type);
        BinaryPrimitives.WriteUInt64LittleEndian(Bytes(request.Header + 8, 8), sector);
        Bytes(request.Status, 1)[0] = 0xee;
        AlignPage();
        // Room for each piece to lie apart from the last.
        request.Data = Allocate(request.DataBytes + 512 * pieces);
        var list = new List<Piece> { new(request.Header, 16, false) };
        var (address, left) = (request.Data, request.DataBytes);
        for (var i = 0; i < pieces && left > 0; i++)
        {
            var count = i + 1 == pieces ? left : Math.Min(left, request.DataBytes / pieces);
            data?.AsSpan(request.DataBytes - left, count).CopyTo(Bytes(address, count));
            list.Add(new Piece(address, (uint)count, data is null));
            address += (ulong)(count + (pieces > 1 ? 512 : 0));
            left -= count;
        }
        list.Add(new Piece(request.Status, 1, true));
        request.Id = Rings[queue].Add(CollectionsMarshal.AsSpan(list));
        Assert.True(request.Id >= 0, "the ring is full");
        _pending.Add((queue, request.Id), request);
        if (kick)
            Kick(queue);
        return request;
    }

    public void Kick(int queue)
    {
        if (!Rings[queue].ShouldKick())
            return;
        Kicks++;
        KickAlways(queue);
    }

    public void KickAlways(int queue)
    {
        ulong one = 1;
        _ = Write(_kicks[queue], &one, 8);
    }

    /// <summary>Takes what has been given back; waits for a call if nothing has.</summary>
    public GuestRequest Await(int queue)
    {
        for (var round = 0; ; round++)
        {
            if (TryTake(queue) is { } done)
                return done;
            Rings[queue].AskForCall();
            if (TryTake(queue) is { } late)
                return late;
            Assert.True(IsCalled(queue, WaitMilliseconds),
                $"queue {queue} ({Kind}): no call within {WaitMilliseconds} ms, {_pending.Count} requests wait");
        }
    }

    public GuestRequest? TryTake(int queue)
    {
        if (!Rings[queue].TryTakeUsed(out var id, out var written))
            return null;
        Assert.True(_pending.Remove((queue, id), out var request), $"nobody waits for request {id}");
        request!.Result = Bytes(request.Status, 1)[0];
        request.Written = written;
        return request;
    }

    public byte Do(uint type, ulong sector, byte[]? data, int readBytes = 0, int pieces = 1, int queue = 0)
    {
        FreeAll();
        var request = Submit(type, sector, data, readBytes, pieces, queue);
        Assert.Same(request, Await(queue));
        return request.Result!.Value;
    }

    public byte[] ReadDisk(ulong sector, int bytes, int pieces = 1, int queue = 0)
    {
        FreeAll();
        var request = Submit(0, sector, null, bytes, pieces, queue);
        Assert.Same(request, Await(queue));
        Assert.Equal(0, request.Result!.Value);
        Assert.Equal((uint)bytes + 1, request.Written);
        return Data(request, pieces);
    }

    public byte[] Data(GuestRequest request, int pieces = 1)
    {
        var data = new byte[request.DataBytes];
        var (address, left) = (request.Data, data.Length);
        for (var i = 0; i < pieces && left > 0; i++)
        {
            var count = i + 1 == pieces ? left : Math.Min(left, data.Length / pieces);
            Bytes(address, count).CopyTo(data.AsSpan(data.Length - left));
            address += (ulong)(count + (pieces > 1 ? 512 : 0));
            left -= count;
        }
        return data;
    }

    public bool IsCalled(int queue, int milliseconds)
    {
        var poll = stackalloc int[2] { _calls[queue], 1 };
        if (Poll(poll, 1, milliseconds) <= 0)
            return false;
        ulong count;
        _ = Read(_calls[queue], &count, 8);
        return true;
    }

    /// <summary>Ends the connection.</summary>
    public void Hang()
    {
        _ = Close(_socket);
        _socket = -1;
    }

    /// <summary>Takes memory back that the back end maps.</summary>
    public void Shrink(long bytes) => _ = Truncate(_memory, bytes);

    public void Dispose()
    {
        foreach (var descriptor in (int[])[.. _kicks, .. _calls, _memory, _socket, _inflight])
            _ = Close(descriptor);
        _ = Munmap((nint)Memory, 2 * RegionBytes);
    }

    public static int ConnectTo(string path)
    {
        var socket = NewSocket(1, 1 | 0x80000, 0);
        var address = new byte[110];
        address[0] = 1;
        System.Text.Encoding.UTF8.GetBytes(path, address.AsSpan(2));
        fixed (byte* start = address)
            Assert.True(Connect(socket, start, 110) == 0, $"{path}: nobody listens");
        return socket;
    }

    private void ShareInflight()
    {
        if (_inflight < 0)
        {
            Send(31, 1, [.. Number(0), .. Number(0), .. Shape()], []);
            _inflightShape = ReceiveWith(31, out _inflight);
            Assert.True(_inflight >= 0 && _inflightShape.Length >= 20);
        }
        Acknowledged(32, _inflightShape[..20], _inflight);
    }

    private byte[] Shape() => [(byte)Kind.Queues, 0, (byte)_inflightEntries, (byte)(_inflightEntries >> 8)];

    private void Send(uint request, uint flags, byte[] payload, int[] descriptors)
    {
        var bytes = new byte[12 + payload.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, request);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4), flags);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(8), payload.Length);
        payload.CopyTo(bytes, 12);
        SendRaw(bytes, descriptors);
    }

    public void SendRaw(byte[] bytes, params int[] descriptors)
    {
        var control = stackalloc byte[512];
        fixed (byte* start = bytes)
        {
            var vector = stackalloc nint[2] { (nint)start, bytes.Length };
            var message = stackalloc nint[7] { 0, 0, (nint)vector, 1, 0, 0, 0 };
            if (descriptors.Length > 0)
            {
                *(long*)control = 16 + 4 * descriptors.Length;
                (*(int*)(control + 8), *(int*)(control + 12)) = (1, 1);
                descriptors.CopyTo(new Span<int>(control + 16, 64));
                (message[4], message[5]) = ((nint)control, 16 + 4 * descriptors.Length + 7 & ~7);
            }
            Assert.Equal(bytes.Length, SendMessage(_socket, message, 0x4000));
        }
    }

    private byte[] Receive(uint request) => ReceiveWith(request, out _);

    private byte[] ReceiveWith(uint request, out int descriptor)
    {
        var header = stackalloc byte[12];
        var control = stackalloc byte[64];
        var vector = stackalloc nint[2] { (nint)header, 12 };
        var message = stackalloc nint[7] { 0, 0, (nint)vector, 1, (nint)control, 64, 0 };
        Assert.True(ReceiveMessage(_socket, message, 0x100) == 12, $"no reply to message {request}: the connection is closed");
        descriptor = message[5] >= 20 ? *(int*)(control + 16) : -1;
        Assert.Equal((request, 5u), (*(uint*)header, *(uint*)(header + 4)));
        var payload = new byte[*(uint*)(header + 8)];
        fixed (byte* start = payload)
            Assert.Equal(payload.Length, ReadFully(start, payload.Length));
        return payload;
    }

    private int ReadFully(byte* target, int count)
    {
        var done = 0;
        while (done < count && Read(_socket, target + done, (nuint)(count - done)) is var got && got > 0)
            done += (int)got;
        return done;
    }

    [LibraryImport("libc", EntryPoint = "memfd_create", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MemfdCreate(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate")]
    private static partial int Truncate(int descriptor, long bytes);

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint Mmap(nint address, nuint length, int protection, int flags, int descriptor, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Munmap(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "eventfd")]
    private static partial int EventFd(uint initial, int flags);

    [LibraryImport("libc", EntryPoint = "poll")]
    private static partial int Poll(int* descriptors, nuint count, int milliseconds);

    [LibraryImport("libc", EntryPoint = "read")]
    private static partial nint Read(int descriptor, void* target, nuint count);

    [LibraryImport("libc", EntryPoint = "write")]
    private static partial nint Write(int descriptor, void* source, nuint count);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);

    [LibraryImport("libc", EntryPoint = "socket")]
    private static partial int NewSocket(int domain, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "connect")]
    private static partial int Connect(int socket, byte* address, uint length);

    [LibraryImport("libc", EntryPoint = "sendmsg")]
    private static partial nint SendMessage(int socket, nint* message, int flags);

    [LibraryImport("libc", EntryPoint = "recvmsg")]
    private static partial nint ReceiveMessage(int socket, nint* message, int flags);
}
