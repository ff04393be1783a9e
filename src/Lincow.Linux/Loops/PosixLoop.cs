namespace Lincow.Linux;

/// <summary>
/// The loop without io_uring: file operations are plain blocking system calls whose results are handed over on the next turn; sockets are
/// tried without blocking and otherwise wait in <c>poll</c>. For containers that refuse io_uring, and for one-shot commands.
/// </summary>
internal sealed unsafe class PosixLoop : IoLoop
{
    private readonly List<Waiting> _waiting = new(64);
    private PollDescriptor[] _descriptors = new PollDescriptor[64];

    public override string Name => "posix";

    public override bool BlocksOnFiles => true;

    public override void Read(int descriptor, nint buffer, int byteCount, long byteOffset, IoCompletion completion) =>
        Finish(Libc.pread(descriptor, buffer, byteCount, byteOffset), completion);

    public override void Write(int descriptor, nint buffer, int byteCount, long byteOffset, IoCompletion completion) =>
        Finish(Libc.pwrite(descriptor, buffer, byteCount, byteOffset), completion);

    public override void SyncData(int descriptor, IoCompletion completion) => Finish(Libc.fdatasync(descriptor), completion);

    public override void Allocate(int descriptor, int mode, long byteOffset, long byteLength, IoCompletion completion) =>
        Finish(Libc.fallocate(descriptor, mode, byteOffset, byteLength), completion);

    public override void Accept(int descriptor, IoCompletion completion) =>
        _waiting.Add(new Waiting(SocketCall.Accept, descriptor, 0, 0, completion));

    public override void Receive(int descriptor, nint buffer, int byteCount, IoCompletion completion) =>
        StartOrWait(new Waiting(SocketCall.Receive, descriptor, buffer, byteCount, completion));

    public override void Send(int descriptor, MessageHeader* message, IoCompletion completion) =>
        StartOrWait(new Waiting(SocketCall.Send, descriptor, (nint)message, 0, completion));

    public override void AwaitReadable(int descriptor, IoCompletion completion) =>
        _waiting.Add(new Waiting(SocketCall.Await, descriptor, 0, 0, completion));

    public override void CancelWait(IoCompletion completion)
    {
        var index = _waiting.FindIndex(waiting => waiting.Completion == completion);
        if (index < 0)
            return;
        _waiting.RemoveAt(index);
        CompleteSoon(completion, -Errno.Canceled);
    }

    public override void Signal(int descriptor, IoCompletion completion) =>
        StartOrWait(new Waiting(SocketCall.Signal, descriptor, 0, 0, completion));

    protected override void Poll(int timeoutMilliseconds)
    {
        if (_descriptors.Length < _waiting.Count + 1)
            Array.Resize(ref _descriptors, _descriptors.Length * 2 + _waiting.Count);
        var count = _waiting.Count;
        _descriptors[0] = new PollDescriptor { Descriptor = WakeDescriptor, Events = PollDescriptor.In };
        for (var i = 0; i < count; i++)
            _descriptors[i + 1] = new PollDescriptor
            {
                Descriptor = _waiting[i].Descriptor,
                Events = _waiting[i].Call is SocketCall.Send or SocketCall.Signal ? PollDescriptor.Out : PollDescriptor.In
            };
        int ready;
        fixed (PollDescriptor* start = _descriptors)
            ready = Libc.poll(start, (nuint)count + 1, timeoutMilliseconds);
        if (ready <= 0)
            return;
        if (_descriptors[0].Returned != 0)
        {
            ulong drained;
            _ = Libc.read(WakeDescriptor, (nint)(&drained), 8);
        }
        // Backwards, so that removing one keeps the indices below it.
        for (var i = count - 1; i >= 0; i--)
        {
            if (_descriptors[i + 1].Returned == 0)
                continue;
            var waiting = _waiting[i];
            var result = Try(waiting);
            if (result == -Errno.Again)
                continue;
            _waiting.RemoveAt(i);
            CompleteSoon(waiting.Completion, result);
        }
    }

    private void StartOrWait(Waiting waiting)
    {
        var result = Try(waiting);
        if (result == -Errno.Again)
            _waiting.Add(waiting);
        else
            CompleteSoon(waiting.Completion, result);
    }

    private static int Try(Waiting waiting)
    {
        ulong one = 1;
        var result = waiting.Call switch
        {
            SocketCall.Accept => Libc.accept4(waiting.Descriptor, 0, 0, Libc.CloseOnExec),
            // poll has said so.
            SocketCall.Await => 0,
            SocketCall.Signal when !IsWritable(waiting.Descriptor) => -Errno.Again,
            SocketCall.Signal => Libc.write(waiting.Descriptor, (nint)(&one), sizeof(ulong)),
            SocketCall.Receive => Libc.recv(waiting.Descriptor, waiting.Buffer, waiting.ByteCount, LinuxSocket.DontWait),
            _ => Libc.sendmsg(waiting.Descriptor, (MessageHeader*)waiting.Buffer, LinuxSocket.DontWait | (int)LinuxSocket.SendFlags),
        };
        if (result >= 0 || result == -Errno.Again)
            return (int)result;
        return Libc.LastError == Errno.Interrupted ? -Errno.Again : -Libc.LastError;
    }

    private static bool IsWritable(int descriptor)
    {
        var poll = new PollDescriptor { Descriptor = descriptor, Events = PollDescriptor.Out };
        return Libc.poll(&poll, 1, 0) > 0;
    }

    private void Finish(nint result, IoCompletion completion) => CompleteSoon(completion, result >= 0 ? (int)result : -Libc.LastError);

    private enum SocketCall
    {
        Accept,
        Await,
        Receive,
        Send,
        Signal,
    }

    private readonly record struct Waiting(SocketCall Call, int Descriptor, nint Buffer, int ByteCount, IoCompletion Completion);
}
