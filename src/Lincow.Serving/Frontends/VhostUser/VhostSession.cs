using System.Buffers.Binary;
using System.Text;
using Lincow.Device;
using Lincow.Linux;
using Lincow.Requests;
using Lincow.Serving.Exports;

namespace Lincow.Serving.Frontends.VhostUser;

/// <summary>
/// A connected front end, on the loop of its device: receives its messages one by one (<see cref="VhostMessages"/> says what each does),
/// and ends in order.
///
///     message -> handled -> acknowledged -> next message
///                   \-> first everything in flight that it concerns has to end
///
/// Invariants: memory is unmapped, and descriptors are closed, only when no request is in flight that could touch them; nothing here waits
/// for the front end.
/// </summary>
internal sealed unsafe class VhostSession : IDisposable
{
    /// <summary>Messages of one turn.</summary>
    private const int MaxMessages = 32;

    private readonly Export _export;
    private readonly byte[] _id = new byte[VhostProtocol.IdBytes];
    private readonly int _socket;
    private readonly Action<string> _log;
    private readonly Action _closed;
    private readonly NativeBuffer _input;
    private readonly int[] _descriptors = new int[DescriptorSocket.MaxDescriptors];
    private readonly VhostMessages _messages;
    private readonly SocketWait _wait;
    private readonly PumpStep _pumpStep;
    private int _have, _descriptorCount, _busy;
    private long _bounceBytes;
    private bool _isEnding, _isClosed, _isWaiting, _isPumpDue, _hasFlushed, _isFlushing;
    private (VhostQueue? Queue, Action Then)? _afterDrain;

    private VhostSession(Export export, int socket, NativeBuffer input, Action<string> log, Action closed)
    {
        (_export, _socket, _input, _log, _closed) = (export, socket, input, log, closed);
        // As many whole characters as there is room for.
        Encoding.UTF8.GetEncoder().Convert(export.Name, _id, flush: true, out _, out _, out _);
        Config = new VhostConfig(Device);
        Chain = new DescriptorChain(Memory);
        _messages = new VhostMessages(this);
        (_wait, _pumpStep) = (new SocketWait(this), new PumpStep(this));
    }

    /// <summary>Null, and the socket the caller's still, when there is no memory for it.</summary>
    public static VhostSession? TryOpen(Export export, int socket, Action<string> log, Action closed) =>
        export.Loop.Buffers.TryRent(VhostProtocol.HeaderBytes + VhostProtocol.MaxPayloadBytes, out var input)
            ? new VhostSession(export, socket, input, log, closed) : null;

    public IoLoop Loop => _export.Loop;

    /// <summary>As <see cref="VhostServer.LoseLoop"/>.</summary>
    public void LoseLoop() => LinuxSocket.Shutdown(_socket, LinuxSocket.ShutdownBoth);

    public BlockDevice Device => _export.Device;

    public int AlignmentBytes => _export.AlignmentBytes;

    /// <summary>What the guest sees as the disk's serial number (/sys/block/vda/serial): the first 20 bytes of the export's name.</summary>
    public ReadOnlySpan<byte> Id => _id;

    public ulong Instance => _export.Instance;

    public VhostInflight? Inflight => _messages.Inflight;

    public VhostConfig Config { get; }

    public GuestMemory Memory { get; } = new();

    /// <summary>The request that is being taken off a ring.</summary>
    public DescriptorChain Chain { get; }

    /// <summary>No queue takes requests: the guest's memory is about to change, or the connection ends.</summary>
    public bool IsPaused => _isEnding || _afterDrain is { Queue: null };

    public bool HasRoom => _bounceBytes < VhostProtocol.MaxBounceBytes;

    /// <summary>
    /// The guest has no flush, or wants none: then every write is on stable storage when it ends (virtio 1.2, section 5.2.5.2).
    /// </summary>
    public bool MustForceWrites => _messages.IsWriteThrough;

    private ReadOnlySpan<byte> Header => new((void*)_input.Address, VhostProtocol.HeaderBytes);

    private uint Request => BinaryPrimitives.ReadUInt32LittleEndian(Header);

    private uint Flags => BinaryPrimitives.ReadUInt32LittleEndian(Header[4..]);

    private uint PayloadBytes => BinaryPrimitives.ReadUInt32LittleEndian(Header[8..]);

    public ReadOnlySpan<byte> Payload => new((byte*)_input.Address + VhostProtocol.HeaderBytes, (int)PayloadBytes);

    public int DescriptorCount => _descriptorCount;

    public void Start() => Wait();

    /// <summary>Takes no further requests and closes when what is in flight has ended.</summary>
    public void End(string? why = null)
    {
        if (_isEnding)
            return;
        if (why is not null)
            Log($"the connection was closed: {why}");
        _isEnding = true;
        if (_isWaiting)
            Loop.CancelWait(_wait);
        CloseIfDone();
    }

    public void Log(string message) => _log($"{_export.Name}: vhost-user: {message}");

    /// <summary>Takes a descriptor that came with the message: its taker closes it.</summary>
    public int TakeDescriptor(int index)
    {
        var descriptor = _descriptors[index];
        _descriptors[index] = -1;
        return descriptor;
    }

    public int PeekDescriptor(int index) => _descriptors[index];

    /// <summary>
    /// Does something when no request of the queue (null: of any) is in flight; until then none is taken, and no message either.
    /// </summary>
    public void AfterDrain(VhostQueue? queue, Action then)
    {
        if (queue is not null)
            queue.IsDraining = true;
        _afterDrain = (queue, then);
    }

    public void Reply(ReadOnlySpan<byte> payload, int descriptor = -1)
    {
        Span<byte> reply = stackalloc byte[VhostProtocol.HeaderBytes + VhostProtocol.MaxPayloadBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(reply, Request);
        BinaryPrimitives.WriteUInt32LittleEndian(reply[4..], VhostProtocol.Version | VhostProtocol.FlagReply);
        BinaryPrimitives.WriteInt32LittleEndian(reply[8..], payload.Length);
        payload.CopyTo(reply[VhostProtocol.HeaderBytes..]);
        var result = DescriptorSocket.TrySend(_socket, reply[..(VhostProtocol.HeaderBytes + payload.Length)], descriptor < 0 ? []
            : [descriptor]);
        if (result < 0)
            End(result == -Errno.Again ? "the front end doesn't read its replies" : null);
    }

    /// <summary>False when the system has no memory left.</summary>
    public bool TryTakeBuffer(long byteCount, out NativeBuffer buffer)
    {
        if (!Loop.Buffers.TryRent(byteCount, out buffer))
            return false;
        _bounceBytes += buffer.SizeBytes;
        return true;
    }

    public void GiveBuffer(NativeBuffer buffer)
    {
        _bounceBytes -= buffer.SizeBytes;
        Loop.Buffers.Return(buffer);
    }

    /// <summary>False, and the end of the connection, when the front end has taken back memory that it shared.</summary>
    public bool CheckMemory()
    {
        if (_isEnding)
            return false;
        // mutation: shrunk-memory-forgiven
        if (!Memory.IsLost && Inflight?.IsLost != true)
            return true;
        End("memory that the front end shares has become shorter");
        return false;
    }

    public void PumpLater()
    {
        if (_isPumpDue)
            return;
        _isPumpDue = true;
        Loop.CompleteSoon(_pumpStep, 0);
    }

    public void RequestEnded()
    {
        if (_messages.HasHeldQueue)
            PumpLater();
        if (!CheckMemory())
            CloseIfDone();
        else if (_afterDrain is not null)
            GoOnIfDrained();
    }

    /// <summary>Whoever uses the queues or the guest's memory does so between Enter and Leave: until then nothing is unmapped.</summary>
    public void Enter() => _busy++;

    public void Leave()
    {
        if (--_busy == 0)
            CloseIfDone();
    }

    public void Dispose() => Loop.Buffers.Return(_input);

    private void Wait()
    {
        if (_isWaiting || _isEnding || _afterDrain is not null)
            return;
        _isWaiting = true;
        Loop.AwaitReadable(_socket, _wait);
    }

    private void Receive()
    {
        Enter();
        for (var messages = 0; messages < MaxMessages && !_isEnding && _afterDrain is null;)
        {
            if (!TryReceive())
                break;
            if (_have >= VhostProtocol.HeaderBytes && _have == VhostProtocol.HeaderBytes + (int)PayloadBytes)
            {
                messages++;
                Handle();
            }
        }
        Wait();
        Leave();
    }

    /// <summary>
    /// Receives the rest of a header, or of a payload: never more, as descriptors come with the first byte of their message.
    /// </summary>
    private bool TryReceive()
    {
        var wanted = _have < VhostProtocol.HeaderBytes
            ? VhostProtocol.HeaderBytes - _have : VhostProtocol.HeaderBytes + (int)PayloadBytes - _have;
        var result = DescriptorSocket.TryReceive(_socket, _input.Address + _have, wanted, _descriptors.AsSpan(_descriptorCount),
            out var count);
        _descriptorCount += count;
        if (result == -Errno.Again)
            return false;
        if (result <= 0)
        {
            End(result == -Errno.Overflow ? "a message has too many descriptors" : null);
            return false;
        }
        _have += result;
        if (count > 0 && DescriptorSocket.IsClogged)
        {
            End("too many descriptors that front ends sent can't be closed: a file or socket among them keeps that waiting");
            return false;
        }
        if (_have != VhostProtocol.HeaderBytes)
            return true;
        if ((Flags & VhostProtocol.VersionMask) != VhostProtocol.Version || (Flags & VhostProtocol.FlagReply) != 0
            || PayloadBytes > VhostProtocol.MaxPayloadBytes)
        {
            End($"a message with flags {Flags:x} and {PayloadBytes} bytes is none of the protocol's");
            return false;
        }
        return true;
    }

    private void Handle()
    {
        Do(() => _messages.Handle((VhostMessage)Request));
        if (_afterDrain is not null)
            GoOnIfDrained();
    }

    private void GoOnIfDrained()
    {
        if (_afterDrain is not { } wanted || (wanted.Queue?.InFlight ?? _messages.InFlight) > 0)
            return;
        _afterDrain = null;
        Enter();
        Do(wanted.Then);
        _messages.PumpAll(onlyHeld: false);
        Wait();
        Leave();
    }

    /// <summary>Does what a message asks for, acknowledges it if it was all, and forgets it.</summary>
    private void Do(Action action)
    {
        try
        {
            action();
            if (_afterDrain is not null)
                return;
            Acknowledge(isDone: true);
        }
        catch (VhostException e)
        {
            Log($"message {Request} was refused: {e.Message}");
            Acknowledge(isDone: false);
        }
        CloseDescriptors();
        _have = 0;
    }

    private void Acknowledge(bool isDone)
    {
        if (_messages.TakeReplied())
            return;
        if (_messages.HasReplyAck && (Flags & VhostProtocol.FlagNeedReply) != 0)
        {
            Span<byte> status = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(status, isDone ? 0UL : 1);
            Reply(status);
        }
        else if (!isDone)
        {
            End("the front end can't be told that a message was refused");
        }
    }

    private void CloseDescriptors()
    {
        for (; _descriptorCount > 0; _descriptorCount--)
        {
            if (_descriptors[_descriptorCount - 1] >= 0)
                DescriptorSocket.Close(_descriptors[_descriptorCount - 1]);
        }
    }

    private void CloseIfDone()
    {
        if (!_isEnding || _isClosed || _isWaiting || _busy > 0 || _messages.InFlight > 0)
            return;
        // So that the next server may go on.
        if (Inflight is { IsUnflushed: true } inflight && !_hasFlushed && Device.IsPersistent)
        {
            _hasFlushed = true;
            new LastFlush(this, inflight.Written).Start();
            return;
        }
        if (_isFlushing)
            return;
        _isClosed = true;
        _messages.Dispose();
        CloseDescriptors();
        Memory.Clear();
        Dispose();
        LinuxSocket.Close(_socket);
        _closed();
    }

    private sealed class SocketWait(VhostSession session) : IoCompletion
    {
        public override void Complete(int result)
        {
            session._isWaiting = false;
            if (session._isEnding)
                session.CloseIfDone();
            else if (result >= 0 || result is -Errno.Interrupted or -Errno.Again)
                session.Receive();
            else
                session.End();
        }
    }

    private sealed class LastFlush(VhostSession session, ulong written) : BlockRequest
    {
        public void Start()
        {
            Operation = BlockOperation.Flush;
            session._isFlushing = true;
            session.Device.Submit(this);
        }

        protected internal override void OnCompleted(int result)
        {
            session._isFlushing = false;
            if (result == 0)
                session.Inflight!.NoteFlush(written);
            session.CloseIfDone();
        }
    }

    private sealed class PumpStep(VhostSession session) : IoCompletion
    {
        public override void Complete(int result)
        {
            session._isPumpDue = false;
            session._messages.PumpAll(onlyHeld: true);
        }
    }
}
