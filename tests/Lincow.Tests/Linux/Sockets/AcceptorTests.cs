using System.Net.Sockets;
using Lincow.Linux;

namespace Lincow.Tests.Linux.Sockets;

/// <summary>The accept loop, on a loop that plays what a test says.</summary>
public sealed class AcceptorTests : IDisposable
{
    private const int TooManyFiles = -24;

    private readonly ScriptedLoop _loop = new();
    private readonly List<int> _taken = [];
    private readonly List<string> _messages = [];
    private readonly int _listener;
    private readonly Acceptor _acceptor;
    private bool _hasRoom = true;

    public AcceptorTests()
    {
        // Half a pair of sockets stands in for one that listens: nobody connects to it, and it can be shut down.
        (_listener, _loop.Other) = LinuxSocket.Pair();
        _acceptor = new Acceptor(_loop, _listener, socket =>
        {
            _taken.Add(socket);
            return _hasRoom;
        }, _messages.Add);
    }

    [Fact]
    public void Without_descriptors_it_pauses_longer_and_longer_says_so_once_and_goes_on()
    {
        for (var i = 0; i < 3; i++)
            _loop.Results.Enqueue(TooManyFiles);
        _loop.Results.Enqueue(1001);
        _loop.Results.Enqueue(-Errno.ConnectionAborted);
        _loop.Results.Enqueue(-Errno.Interrupted);
        _loop.Results.Enqueue(1002);
        var start = Environment.TickCount64;
        _acceptor.Resume();
        _loop.RunUntil(() => _taken.Count == 2);
        Assert.Equal([1001, 1002], _taken);
        Assert.Single(_messages);
        Assert.Contains("Too many open files", _messages[0]);
        // Three pauses, each twice as long as the one before.
        Assert.InRange(Environment.TickCount64 - start, 7 * Acceptor.FirstPauseMilliseconds, long.MaxValue);
        // What comes later is said again, and the pause is short again.
        _loop.Results.Enqueue(TooManyFiles);
        _loop.Results.Enqueue(1003);
        _loop.Play();
        _loop.RunUntil(() => _taken.Count == 3);
        Assert.Equal(2, _messages.Count);
    }

    [Fact]
    public void Who_has_room_for_no_more_gets_no_more_until_there_is_room()
    {
        _hasRoom = false;
        _loop.Results.Enqueue(1001);
        _loop.Results.Enqueue(1002);
        _acceptor.Resume();
        _loop.RunUntil(() => _taken.Count == 1);
        _loop.RunOnce();
        Assert.Equal(1, _loop.AcceptCount);
        _acceptor.Resume();
        _loop.RunUntil(() => _taken.Count == 2);
        Assert.Equal([1001, 1002], _taken);
    }

    [Theory]
    [InlineData("accepting")]
    [InlineData("pausing")]
    [InlineData("held")]
    public void It_stops_whatever_it_does(string state)
    {
        _hasRoom = state != "held";
        if (state != "accepting")
            _loop.Results.Enqueue(state == "held" ? 1001 : TooManyFiles);
        _acceptor.Resume();
        _loop.RunUntil(() => state == "accepting" || _taken.Count + _messages.Count > 0);
        var isStopped = false;
        _acceptor.Stop(() => isStopped = true);
        if (state == "accepting")
        {
            // What is under way on the socket ends by that.
            Assert.False(isStopped);
            _loop.Results.Enqueue(-Errno.Invalid);
            _loop.Play();
            _loop.RunUntil(() => isStopped);
        }
        Assert.True(isStopped);
        Assert.True(LinuxSocket.IsHungUp(_loop.Other), "the socket is still open");
        // A pause that is under way leads to nothing, nor does who has room again.
        _acceptor.Resume();
        var accepts = _loop.AcceptCount;
        var end = Environment.TickCount64 + 2 * Acceptor.FirstPauseMilliseconds;
        _loop.RunUntil(() => Environment.TickCount64 > end);
        Assert.Equal(accepts, _loop.AcceptCount);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_socket_that_others_have_too_is_theirs_when_it_stops(bool isRing)
    {
        const int duplicate = 0;
        var path = Path.Combine(Directory.CreateTempSubdirectory("lincow-a").FullName, "s");
        var listener = LinuxSocket.ListenUnix(path);
        Assert.Equal(path, LinuxSocket.TakeListening(listener)!.Value.Path);
        Assert.Null(LinuxSocket.TakeListening(_listener));
        for (var round = 0; round < 3; round++)
        {
            using IoLoop loop = isRing ? IoLoop.Create(out _) : new PosixLoop();
            var (taken, isStopped) = (new List<int>(), false);
            var acceptor = new Acceptor(loop, Libc.fcntl(listener, duplicate, 0), socket =>
            {
                taken.Add(socket);
                return true;
            }, _messages.Add, isShared: true);
            using var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            client.Connect(new UnixDomainSocketEndPoint(path));
            acceptor.Resume();
            while (taken.Count == 0)
                loop.RunOnce();
            acceptor.Stop(() => isStopped = true);
            while (!isStopped)
                loop.RunOnce();
            LinuxSocket.Close(Assert.Single(taken));
        }
        Assert.Empty(_messages);
        LinuxSocket.Close(listener);
        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }

    public void Dispose()
    {
        _acceptor.Stop(() => { });
        LinuxSocket.Close(_loop.Other);
        _loop.Dispose();
    }

    /// <summary>Accepts complete with what is queued, one a turn; timers are the real ones.</summary>
    private sealed unsafe class ScriptedLoop : IoLoop
    {
        private IoCompletion? _accepting;

        public Queue<int> Results { get; } = new();

        public int AcceptCount { get; private set; }

        /// <summary>The other end of what stands in for the listening socket.</summary>
        public int Other { get; set; }

        public override string Name => "scripted";

        public void RunUntil(Func<bool> condition)
        {
            var end = Environment.TickCount64 + 20_000;
            while (!condition())
            {
                Assert.True(Environment.TickCount64 < end, "it does not happen");
                RunOnce();
            }
        }

        /// <summary>Completes the accept that waits, if there is something to complete it with.</summary>
        public void Play()
        {
            if (_accepting is not { } completion || !Results.TryDequeue(out var result))
                return;
            _accepting = null;
            CompleteSoon(completion, result);
        }

        public override void Accept(int descriptor, IoCompletion completion)
        {
            AcceptCount++;
            Assert.Null(_accepting);
            _accepting = completion;
            Play();
        }

        protected override void Poll(int timeoutMilliseconds) => Thread.Sleep(Math.Clamp(timeoutMilliseconds, 0, 10));

        public override void Read(int descriptor, nint buffer, int byteCount, long byteOffset, IoCompletion completion) =>
            throw new NotSupportedException();

        public override void Write(int descriptor, nint buffer, int byteCount, long byteOffset, IoCompletion completion) =>
            throw new NotSupportedException();

        public override void SyncData(int descriptor, IoCompletion completion) => throw new NotSupportedException();

        public override void Allocate(int descriptor, int mode, long byteOffset, long byteLength, IoCompletion completion) =>
            throw new NotSupportedException();

        public override void Receive(int descriptor, nint buffer, int byteCount, IoCompletion completion) =>
            throw new NotSupportedException();

        public override void Send(int descriptor, MessageHeader* message, IoCompletion completion) => throw new NotSupportedException();

        public override void AwaitReadable(int descriptor, IoCompletion completion) => throw new NotSupportedException();

        public override void CancelWait(IoCompletion completion) => throw new NotSupportedException();

        public override void Signal(int descriptor, IoCompletion completion) => throw new NotSupportedException();
    }
}
