using System.Buffers.Binary;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Serving.Exports;
using Lincow.Serving.Frontends.VhostUser;
using static Lincow.Fuzz.BrokenPromiseException;

namespace Lincow.Fuzz.Targets;

/// <summary>
/// A virtual machine that may say anything: requests in either kind of ring, any byte of ring, header and table changed, and any messages
/// before and after them. Held: nothing outside of the shared memory is written, though it lies between two regions of it; a read-only
/// disk is not written; the connection ends when its front end leaves; memory comes back.
/// </summary>
internal sealed unsafe class VhostTarget : IFuzzTarget, IDisposable
{
    private const int DeviceBytes = 192 << 10, PartBytes = 64 << 10, Entries = 16, MaxMessages = 24, MaxTurns = 100_000;
    private const int DriverAt = 0x400, DeviceAt = 0x800, FreeAt = 0x900, RingPage = 0x1000;

    /// <summary>The second region follows the first for the guest, and lies after what isn't shared in the file.</summary>
    private const ulong GuestBase = 0x10000, UserBase = 0x700000000000;

    private const byte Canary = 0xc5;

    private static readonly uint[] Types = [0, 1, 0, 1, 4, 8, 11, 13];

    private readonly string _origin = FuzzPlace.NewPath();
    private readonly byte[] _content = new byte[DeviceBytes];
    private readonly int _file = DescriptorSocket.TryCreateMemory("fuzz", 3 * PartBytes);
    private readonly int _event = DescriptorSocket.NewEvent();
    private readonly int _mapping;
    private readonly nint _memory;
    private readonly byte[] _reply = new byte[4096];
    private readonly int[] _descriptors = new int[DescriptorSocket.MaxDescriptors];

    public VhostTarget()
    {
        new Random(1).NextBytes(_content);
        _content.AsSpan(40_000, 60_000).Clear();
        File.WriteAllBytes(_origin, _content);
        _mapping = GuardedMemory.TryMap(_file, 0, 3 * PartBytes, out _memory);
    }

    private Span<byte> Rings => new((void*)_memory, RingPage);

    private Span<byte> Between => new((void*)(_memory + PartBytes), PartBytes);

    public void Run(ReadOnlySpan<byte> bytes)
    {
        var input = new FuzzInput(bytes);
        var how = input.U8();
        bool isPacked = (how & 1) != 0, isReadOnly = (how & 2) != 0, isIndirect = (how & 4) != 0, hasInflight = (how & 8) != 0;
        new Span<byte>((void*)_memory, 3 * PartBytes).Clear();
        Between.Fill(Canary);
        Compose(ref input, isPacked, isIndirect);
        input.Patch(Rings);
        using var loop = new PosixLoop();
        var session = OverlaySession.Open(new OverlayOptions
        {
            Origin = _origin,
            ReadOnly = isReadOnly,
            TransientData = Path.GetDirectoryName(_origin),
            ChunkBytes = (how & 16) == 0 ? 512 : 4096
        }, loop);
        var (server, client) = LinuxSocket.Pair();
        var isClosed = false;
        var export = new Export("disk", session.Device, loop, "", (how & 32) == 0 ? 1 : 4096);
        VhostSession.TryOpen(export, server, _ => { }, () => isClosed = true)!.Start();
        Begin(loop, client, isPacked, hasInflight);
        for (var i = 0; i < MaxMessages && !input.IsEmpty && !isClosed; i++)
        {
            Say(ref input, client);
            Turn(loop, client);
        }
        DescriptorSocket.Close(client);
        for (var turns = 0; !isClosed; turns++)
        {
            Require(turns < MaxTurns, "a connection whose front end has left ends");
            loop.RunOnce();
        }
        Require(Between.IndexOfAnyExcept(Canary) < 0, "nothing is written outside of the memory that is shared");
        session.Close();
        Require(loop.Buffers.RentedBytes == 0, "memory comes back");
        Require(File.ReadAllBytes(_origin).AsSpan().SequenceEqual(_content), "the origin is never written");
    }

    public void Dispose()
    {
        GuardedMemory.Unmap(_mapping);
        DescriptorSocket.Close(_file);
        DescriptorSocket.Close(_event);
        File.Delete(_origin);
    }

    /// <summary>A few requests as a driver makes them.</summary>
    private void Compose(ref FuzzInput input, bool isPacked, bool isIndirect)
    {
        var (slot, free, heads) = (0, FreeAt, 0);
        for (var count = 1 + (input.U8() & 3); count > 0; count--)
        {
            var (kind, place) = (input.U8(), input.U16());
            var type = Types[kind & 7];
            var pieces = 1 + (kind >> 3 & 3);
            if (slot + pieces + 2 > Entries)
                break;
            // Data anywhere in the guest's memory, also across the border of its regions.
            var data = GuestBase + RingPage + (ulong)place % (2 * PartBytes - 2 * RingPage);
            var header = free;
            BinaryPrimitives.WriteUInt32LittleEndian(Rings[free..], type);
            BinaryPrimitives.WriteUInt64LittleEndian(Rings[(free + 8)..], (ulong)input.U16() % (DeviceBytes / 512 + 8));
            var (list, first) = (isIndirect ? free + 32 : 0, slot);
            free += 32 + (isIndirect ? (pieces + 2) * 16 : 0);
            for (var i = 0; i < pieces + 2; i++)
            {
                var isLast = i == pieces + 1;
                var (address, length) = i == 0 ? (GuestBase + (ulong)header, 16u) : isLast ? (GuestBase + (ulong)header + 16, 1u)
                    : (data + (ulong)(i * 1024), type == 13 || type == 11 ? 16u : 512u);
                var flags = (isLast ? 0 : 1) | (isLast || (i > 0 && type is 0 or 8) ? 2 : 0);
                var at = isIndirect ? list + 16 * i : 16 * slot;
                var isInTable = isIndirect && isPacked;
                Put(at, address, length, isPacked ? (ushort)0
                    : (ushort)flags, (ushort)(isPacked ? isInTable ? flags & 2 : flags | 1 << 7 : isIndirect ? i + 1 : slot + 1));
                slot += isIndirect ? 0 : 1;
            }
            if (isIndirect)
            {
                Put(16 * slot, GuestBase + (ulong)list, (uint)(pieces + 2) * 16, isPacked ? (ushort)0 : (ushort)4, isPacked
                    ? (ushort)(4 | 1 << 7) : (ushort)0);
                slot++;
            }
            if (!isPacked)
                BinaryPrimitives.WriteUInt16LittleEndian(Rings[(DriverAt + 4 + 2 * heads)..], (ushort)first);
            heads++;
        }
        if (!isPacked)
            BinaryPrimitives.WriteUInt16LittleEndian(Rings[(DriverAt + 2)..], (ushort)heads);
    }

    private void Put(int at, ulong address, uint length, ushort first, ushort second)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(Rings[at..], address);
        BinaryPrimitives.WriteUInt32LittleEndian(Rings[(at + 8)..], length);
        BinaryPrimitives.WriteUInt16LittleEndian(Rings[(at + 12)..], first);
        BinaryPrimitives.WriteUInt16LittleEndian(Rings[(at + 14)..], second);
    }

    private void Begin(PosixLoop loop, int client, bool isPacked, bool hasInflight)
    {
        Send(client, 2, [(ulong)(VirtioFeatures.Version1 | VirtioFeatures.ProtocolFeatures | VirtioFeatures.IndirectDescriptors
            | VirtioFeatures.Flush | VirtioFeatures.ConfigWce
            | VirtioFeatures.Discard | VirtioFeatures.WriteZeroes | (isPacked ? VirtioFeatures.PackedRing : 0))]);
        Send(client, 16, [(ulong)VhostFeatures.All]);
        Turn(loop, client);
        if (hasInflight)
        {
            var inflight = DescriptorSocket.TryCreateMemory("fuzz", 1 << 16);
            Send(client, 32, [1 << 16, 0, 1 | Entries << 16], inflight);
            DescriptorSocket.Close(inflight);
        }
        Send(client, 5, [2, GuestBase, PartBytes, UserBase, 0, GuestBase + PartBytes, PartBytes, UserBase + PartBytes, 2 * PartBytes],
            _file, _file);
        Turn(loop, client);
        Send(client, 8, [(ulong)Entries << 32]);
        Send(client, 10, [isPacked ? 0x8000UL << 32 : 0]);
        Send(client, 9, [0, UserBase, UserBase + DeviceAt, UserBase + DriverAt, 0]);
        Send(client, 12, [0], _event);
        Send(client, 18, [1UL << 32]);
        Turn(loop, client);
    }

    /// <summary>A message as a front end sends it, with anything in it changed; or the guest changes its mind, and kicks.</summary>
    private void Say(ref FuzzInput input, int client)
    {
        var kind = input.U8();
        if ((kind & 0x80) != 0)
        {
            input.Patch(Rings);
            Send(client, 18, [1UL << 32]);
            return;
        }
        Span<byte> payload = stackalloc byte[72];
        payload.Clear();
        var length = 8 * (input.U8() % 10);
        input.Patch(payload);
        int[] descriptors = (kind >> 5) switch { 0 => [], 1 => [_file], 2 => [_event], _ => [_file, _file] };
        Send(client, (uint)(kind & 31) + (uint)(length == 0 ? 12 : 0), payload[..length], descriptors);
    }

    private static void Send(int client, uint request, ReadOnlySpan<ulong> payload, params ReadOnlySpan<int> descriptors) =>
        Send(client, request, System.Runtime.InteropServices.MemoryMarshal.AsBytes(payload), descriptors);

    // Each asks for an answer, so that what is refused doesn't end the connection.
    private static void Send(int client, uint request, ReadOnlySpan<byte> payload, ReadOnlySpan<int> descriptors)
    {
        Span<byte> message = stackalloc byte[VhostProtocol.HeaderBytes + payload.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(message, request);
        BinaryPrimitives.WriteUInt32LittleEndian(message[4..], VhostProtocol.Version | VhostProtocol.FlagNeedReply);
        BinaryPrimitives.WriteInt32LittleEndian(message[8..], payload.Length);
        payload.CopyTo(message[VhostProtocol.HeaderBytes..]);
        _ = DescriptorSocket.TrySend(client, message, descriptors);
    }

    /// <summary>Lets the back end do what it has to do, and takes its answers.</summary>
    private void Turn(PosixLoop loop, int client)
    {
        // What never waits: the loop has no descriptor to wait for that is not ready, so a posted step keeps each turn short.
        for (var turns = 0; turns < 6; turns++)
        {
            loop.Post(() => { });
            loop.RunOnce();
        }
        fixed (byte* start = _reply)
        {
            while (DescriptorSocket.TryReceive(client, (nint)start, _reply.Length, _descriptors, out var count) > 0)
            {
                for (; count > 0; count--)
                    DescriptorSocket.Close(_descriptors[count - 1]);
            }
        }
    }
}
