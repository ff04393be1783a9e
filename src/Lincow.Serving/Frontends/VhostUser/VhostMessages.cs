using System.Buffers.Binary;
using Lincow.Linux;

namespace Lincow.Serving.Frontends.VhostUser;

/// <summary>
/// What each message of a front end does (vhost-user.rst, "Front-end message types"), and the state that they build: features, queues,
/// in-flight memory. A message that makes no sense is refused with a <see cref="VhostException"/>.
/// </summary>
internal sealed class VhostMessages(VhostSession session) : IDisposable
{
    private const uint QueueMask = 0xff, NoDescriptor = 0x100;

    private readonly VhostQueue?[] _queues = new VhostQueue?[VhostProtocol.MaxQueues];
    private VirtioFeatures _features;
    private VhostFeatures _protocolFeatures;
    private bool _hasReplied;
    private int _backendRequests = -1;

    public bool HasReplyAck => (_protocolFeatures & VhostFeatures.ReplyAck) != 0;

    public bool IsWriteThrough => Has(VirtioFeatures.ConfigWce) ? !session.Config.IsWriteBack : !Has(VirtioFeatures.Flush);

    public VhostInflight? Inflight { get; private set; }

    public int InFlight
    {
        get
        {
            var sum = 0;
            foreach (var queue in _queues)
                sum += queue?.InFlight ?? 0;
            return sum;
        }
    }

    public bool HasHeldQueue
    {
        get
        {
            foreach (var queue in _queues)
            {
                if (queue?.IsHeld == true)
                    return true;
            }
            return false;
        }
    }

    private bool IsAnyRunning => _queues.Any(queue => queue?.IsRunning == true);

    /// <summary>Whether the message that was handled last has had its reply.</summary>
    public bool TakeReplied()
    {
        var replied = _hasReplied;
        _hasReplied = false;
        return replied;
    }

    public void PumpAll(bool onlyHeld)
    {
        foreach (var queue in _queues)
        {
            if (queue is not null && (queue.IsHeld || !onlyHeld))
                queue.Pump();
        }
    }

    public void Handle(VhostMessage message)
    {
        switch (message)
        {
            case VhostMessage.GetFeatures:
                Reply((ulong)session.Config.Features);
                break;
            case VhostMessage.SetFeatures:
                SetFeatures((VirtioFeatures)Number());
                break;
            case VhostMessage.GetProtocolFeatures:
                Reply((ulong)VhostFeatures.All);
                break;
            case VhostMessage.SetProtocolFeatures:
                var wanted = (VhostFeatures)Number();
                if ((wanted & ~VhostFeatures.All) != 0)
                    throw new VhostException($"protocol features {(ulong)wanted:x} were not offered");
                _protocolFeatures = wanted;
                break;
            case VhostMessage.GetQueueNum:
                Reply(VhostProtocol.MaxQueues);
                break;
            case VhostMessage.GetMaxMemSlots:
                Reply(VhostProtocol.MaxRegions);
                break;
            // Without a meaning for us, or none any more.
            case VhostMessage.SetOwner or VhostMessage.ResetOwner:
                break;
            case VhostMessage.SetBackendRequests:
                _ = Descriptor(0);
                SetBackendRequests(session.TakeDescriptor(0));
                break;
            case VhostMessage.SetMemTable:
                CheckTable();
                session.AfterDrain(null, SetMemoryTable);
                break;
            case VhostMessage.AddMemReg:
                AddRegion(Bytes(8 + VhostProtocol.RegionBytes)[8..], Descriptor(0));
                // mutation: memory-comes-back-to-a-stopped-queue
                StartSuspended();
                break;
            case VhostMessage.RemMemReg:
                _ = Bytes(8 + VhostProtocol.RegionBytes);
                session.AfterDrain(null, RemoveRegion);
                break;
            case VhostMessage.GetConfig or VhostMessage.SetConfig:
                Configure(message);
                break;
            case VhostMessage.GetInflightFd:
                GetInflight();
                break;
            case VhostMessage.SetInflightFd:
                session.AfterDrain(null, SetInflight);
                break;
            case VhostMessage.ResetDevice:
                session.AfterDrain(null, Reset);
                break;
            default:
                HandleRing(message);
                break;
        }
    }

    public void Dispose()
    {
        foreach (var queue in _queues)
            queue?.Dispose();
        DropInflight();
        SetBackendRequests(-1);
    }

    private bool Has(VirtioFeatures feature) => (_features & feature) != 0;

    private void HandleRing(VhostMessage message)
    {
        switch (message)
        {
            case VhostMessage.SetVringNum:
                var (sized, entries) = State();
                if (entries is 0 or > VhostProtocol.MaxQueueSize || sized.IsRunning)
                    throw new VhostException($"queue {sized.Index} can't have {entries} descriptors now");
                sized.Entries = (int)entries;
                break;
            case VhostMessage.SetVringBase:
                var (begun, from) = State();
                if (begun.IsRunning)
                    throw new VhostException($"queue {begun.Index} runs");
                begun.Base = from;
                break;
            case VhostMessage.SetVringAddr:
                SetAddresses();
                break;
            case VhostMessage.GetVringBase:
                var stopped = State().Queue;
                session.AfterDrain(stopped, () => ReplyBase(stopped));
                break;
            case VhostMessage.SetVringEnable:
                var (enabled, isEnabled) = State();
                enabled.IsEnabled = isEnabled != 0;
                enabled.Pump();
                break;
            case VhostMessage.SetVringKick:
                var (started, kick) = Event(isKick: true);
                if (kick < 0)
                    throw new VhostException("a queue without a descriptor for kicks would have to be polled");
                started.SetKick(kick);
                Start(started);
                break;
            case VhostMessage.SetVringCall:
                var (called, call) = Event(isKick: false);
                called.SetCall(call);
                break;
            case VhostMessage.SetVringErr:
                var (failing, error) = Event(isKick: false);
                failing.SetError(error);
                break;
            default:
                throw new VhostException("lincow doesn't know it");
        }
    }

    /// <summary>Kept, for its end would tell the front end that its device is gone.</summary>
    private void SetBackendRequests(int descriptor)
    {
        if (_backendRequests >= 0)
            DescriptorSocket.Close(_backendRequests);
        _backendRequests = descriptor;
    }

    private void SetFeatures(VirtioFeatures wanted)
    {
        if ((wanted & ~session.Config.Features) != 0)
            throw new VhostException($"features {(ulong)wanted:x} were not offered");
        if (wanted != _features && IsAnyRunning)
            throw new VhostException("features can't change while a queue runs");
        _features = wanted;
    }

    private void CheckTable()
    {
        var count = BinaryPrimitives.ReadUInt32LittleEndian(Bytes(8));
        if (count > VhostProtocol.MaxTableRegions || count != session.DescriptorCount)
            throw new VhostException($"{count} regions of memory and {session.DescriptorCount} descriptors");
        _ = Bytes(8 + (int)count * VhostProtocol.RegionBytes);
    }

    private void SetMemoryTable() => ChangeMemory(() =>
    {
        session.Memory.Clear();
        for (var i = 0; i < session.DescriptorCount; i++)
            AddRegion(session.Payload[(8 + i * VhostProtocol.RegionBytes)..], Descriptor(i));
    });

    private void RemoveRegion() => ChangeMemory(() =>
    {
        var region = session.Payload[8..];
        session.Memory.Remove(U64(region), U64(region[8..]), U64(region[16..]));
    });

    private void AddRegion(ReadOnlySpan<byte> region, int descriptor) =>
        session.Memory.Add(U64(region), U64(region[8..]), U64(region[16..]), U64(region[24..]), descriptor);

    /// <summary>Nothing is in flight: rings that run are looked up again in the memory as it is then.</summary>
    private void ChangeMemory(Action change)
    {
        foreach (var queue in _queues)
        {
            if (queue?.IsRunning == true)
                queue.Suspend();
        }
        try
        {
            change();
        }
        finally
        {
            StartSuspended();
        }
    }

    /// <summary>
    /// Rings that were stopped for a change go on; one that the memory doesn't hold any more waits for the change that brings it back.
    /// </summary>
    private void StartSuspended()
    {
        foreach (var queue in _queues)
        {
            if (queue?.IsSuspended == true)
                StartAgain(queue);
        }
    }

    private void StartAgain(VhostQueue queue)
    {
        try
        {
            Start(queue);
        }
        catch (VhostException e)
        {
            session.Log($"queue {queue.Index} was stopped, as the guest's memory has changed: {e.Message}");
        }
    }

    private void SetAddresses()
    {
        var payload = Bytes(40);
        var queue = Queue(BinaryPrimitives.ReadUInt32LittleEndian(payload));
        var addresses = (U64(payload[8..]), U64(payload[24..]), U64(payload[16..]));
        if (queue.IsRunning && queue.Addresses != addresses)
            throw new VhostException($"queue {queue.Index} runs");
        queue.Addresses = addresses;
    }

    private void Start(VhostQueue queue)
    {
        if (queue.IsRunning)
            return;
        if (queue.Entries == 0 || queue.Addresses is not { } user)
            throw new VhostException($"queue {queue.Index} is to start without a size and addresses");
        var isPacked = Has(VirtioFeatures.PackedRing);
        if (!isPacked && !int.IsPow2(queue.Entries))
            throw new VhostException($"queue {queue.Index} has {queue.Entries} descriptors, which is no power of two");
        var (driverBytes, deviceBytes) = isPacked ? (4UL, 4UL) : SplitRing.AreaBytes(queue.Entries);
        var place = new RingPlace(queue.Entries, session.Memory.FindUser(user.Table, (ulong)queue.Entries * VhostProtocol.DescriptorBytes),
            session.Memory.FindUser(user.Driver, driverBytes), session.Memory.FindUser(user.Device, deviceBytes),
            Has(VirtioFeatures.IndirectDescriptors), Has(VirtioFeatures.EventIndex), Inflight?.RegionOf(queue.Index, queue.Entries) ?? 0);
        if (place.Table == 0 || place.Driver == 0 || place.Device == 0 || place.Table % 16 != 0 || place.Driver % (isPacked ? 4 : 2) != 0
            || place.Device % 4 != 0)
            throw new VhostException($"queue {queue.Index} lies outside of the guest's memory, or is not aligned");
        // Without VHOST_USER_F_PROTOCOL_FEATURES, a ring is enabled from the start.
        if (!Has(VirtioFeatures.ProtocolFeatures))
            queue.IsEnabled = true;
        queue.Start(VirtRing.Create(place, isPacked, queue.Base ?? (isPacked ? 0x8000u : 0)));
    }

    private void ReplyBase(VhostQueue queue)
    {
        Span<byte> reply = stackalloc byte[8];
        BinaryPrimitives.WriteInt32LittleEndian(reply, queue.Index);
        BinaryPrimitives.WriteUInt32LittleEndian(reply[4..], queue.Stop());
        Reply(reply);
    }

    private void Reset()
    {
        foreach (var queue in _queues)
        {
            queue?.Stop();
            if (queue is not null)
                (queue.IsEnabled, queue.Base) = (false, null);
        }
    }

    private void Configure(VhostMessage message)
    {
        var payload = Bytes(12);
        var (offset, count) = (BinaryPrimitives.ReadUInt32LittleEndian(payload), BinaryPrimitives.ReadUInt32LittleEndian(payload[4..]));
        var isSound = offset <= VhostConfig.MaxBytes && count <= VhostConfig.MaxBytes - offset && payload.Length >= 12 + count;
        if (message == VhostMessage.SetConfig)
        {
            if (!isSound || !Has(VirtioFeatures.ConfigWce) || !session.Config.TrySet(offset, payload.Slice(12, (int)count)))
                throw new VhostException($"the configuration's {count} bytes at {offset} are read-only");
            if (Inflight is not null)
                Inflight.IsWriteThrough = !session.Config.IsWriteBack;
            return;
        }
        Span<byte> reply = stackalloc byte[12 + VhostConfig.MaxBytes];
        if (!isSound)
        {
            // An empty answer says that it can't be had.
            Reply([]);
            return;
        }
        payload[..12].CopyTo(reply);
        session.Config.Space.Slice((int)offset, (int)count).CopyTo(reply[12..]);
        Reply(reply[..(12 + (int)count)]);
    }

    private void GetInflight()
    {
        var (queues, entries) = InflightShape(Bytes(20));
        var bytes = VhostInflight.BytesFor(queues, entries);
        var memory = DescriptorSocket.TryCreateMemory("lincow-inflight", bytes);
        if (memory < 0)
            throw new VhostException($"there is no memory for requests in flight: {Errno.Describe(-memory)}");
        Span<byte> reply = stackalloc byte[24];
        BinaryPrimitives.WriteInt64LittleEndian(reply, bytes);
        BinaryPrimitives.WriteUInt16LittleEndian(reply[16..], (ushort)queues);
        BinaryPrimitives.WriteUInt16LittleEndian(reply[18..], (ushort)entries);
        session.Reply(reply, memory);
        _hasReplied = true;
        DescriptorSocket.Close(memory);
    }

    private void SetInflight()
    {
        var payload = Bytes(20);
        var (queues, entries) = InflightShape(payload);
        if (IsAnyRunning)
            throw new VhostException("the memory for requests in flight can't change while a queue runs");
        DropInflight();
        Inflight = new VhostInflight(Descriptor(0), U64(payload), U64(payload[8..]), queues, entries, session.Instance,
            session.Device.IsPersistent);
        if (Inflight.IsWriteThrough)
            session.Config.IsWriteBack = false;
    }

    private static (int Queues, int Entries) InflightShape(ReadOnlySpan<byte> payload)
    {
        int queues = BinaryPrimitives.ReadUInt16LittleEndian(payload[16..]),
            entries = BinaryPrimitives.ReadUInt16LittleEndian(payload[18..]);
        if (queues is 0 or > VhostProtocol.MaxQueues || entries is 0 or > VhostProtocol.MaxQueueSize)
            throw new VhostException($"requests in flight of {queues} queues with {entries} descriptors");
        return (queues, entries);
    }

    private void DropInflight()
    {
        Inflight?.Unmap();
        Inflight = null;
    }

    private void Reply(ulong value)
    {
        Span<byte> payload = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(payload, value);
        Reply(payload);
    }

    private void Reply(ReadOnlySpan<byte> payload)
    {
        session.Reply(payload);
        _hasReplied = true;
    }

    /// <summary>The payload, which has at least so many bytes: some front ends send what a message could have at most.</summary>
    private ReadOnlySpan<byte> Bytes(int atLeast) =>
        session.Payload.Length >= atLeast
            ? session.Payload : throw new VhostException($"it has {session.Payload.Length} bytes, and needs {atLeast}");

    private ulong Number() => U64(Bytes(8));

    private (VhostQueue Queue, uint Value) State()
    {
        var payload = Bytes(8);
        return (Queue(BinaryPrimitives.ReadUInt32LittleEndian(payload)), BinaryPrimitives.ReadUInt32LittleEndian(payload[4..]));
    }

    /// <summary>A queue and its descriptor for kicks or calls; -1 when the message says that there is none.</summary>
    private (VhostQueue Queue, int Descriptor) Event(bool isKick)
    {
        var value = Number();
        var queue = Queue((uint)(value & QueueMask));
        if ((value & NoDescriptor) != 0)
            return (queue, -1);
        if (isKick ? !DescriptorSocket.IsEvent(Descriptor(0)) : !DescriptorSocket.CanSignal(Descriptor(0)))
            throw new VhostException("a descriptor is not an eventfd");
        var descriptor = session.TakeDescriptor(0);
        DescriptorSocket.DontBlock(descriptor);
        return (queue, descriptor);
    }

    private int Descriptor(int index) =>
        index < session.DescriptorCount ? session.PeekDescriptor(index) : throw new VhostException("it comes without a descriptor");

    private VhostQueue Queue(uint index)
    {
        if (index >= VhostProtocol.MaxQueues)
            throw new VhostException($"there is no queue {index}");
        return _queues[index] ??= new VhostQueue(session, (int)index);
    }

    private static ulong U64(ReadOnlySpan<byte> bytes) => BinaryPrimitives.ReadUInt64LittleEndian(bytes);
}
