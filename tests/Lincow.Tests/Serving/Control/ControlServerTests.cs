using System.Net.Sockets;
using System.Text;
using Lincow.Linux;
using Lincow.Serving.Control;

namespace Lincow.Tests.Serving.Control;

/// <summary>The control socket: whatever is asked, and however its clients behave, the server goes on and comes to its end.</summary>
public sealed class ControlServerTests : IDisposable
{
    private readonly LoopThread _thread = LoopThread.StartWithoutRing("control");
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"lincow-{Guid.NewGuid():N}");

    [Fact]
    public void A_question_that_fails_is_answered_with_a_sentence()
    {
        var server = Start((_, _) => throw new InvalidOperationException("no such thing"));
        for (var i = 0; i < 3; i++)
            Assert.Contains("no such thing", Ask("{\"verb\":\"status\"}"));
        Stop(server);
    }

    [Fact]
    public void Who_does_not_read_the_answer_does_not_hold_up_the_end()
    {
        var server = Start((_, reply) => reply(new ControlReply(new string('x', 4 << 20))));
        using var client = Connect();
        client.Send(Encoding.UTF8.GetBytes("{\"verb\":\"status\"}\n"));
        // The first bytes show that the answer is on its way; the rest is never read.
        Assert.Equal(1, client.Receive(new byte[1]));
        Stop(server);
    }

    [Fact]
    public void An_answer_that_never_comes_does_not_hold_up_the_end()
    {
        using var asked = new ManualResetEventSlim();
        Action<ControlReply>? late = null;
        var server = Start((_, reply) =>
        {
            late = reply;
            asked.Set();
        });
        using var client = Connect();
        client.Send(Encoding.UTF8.GetBytes("{\"verb\":\"reset\"}\n"));
        Assert.True(asked.Wait(20_000, TestContext.Current.CancellationToken));
        Stop(server);
        // Nobody is there for it any more, and nothing happens.
        late!(new ControlReply(null));
        Assert.Equal(0, _thread.Loop.Invoke(() => 0));
    }

    [Fact]
    public void Nobody_is_answered_who_asks_after_the_end_has_begun()
    {
        var server = Start((_, reply) => reply(new ControlReply("here")));
        using var early = Connect();
        Assert.Contains("here", Ask("{\"verb\":\"status\"}"));
        _thread.Loop.Invoke(server.StopAsking);
        // Its connection is at its end, and new ones are refused or end as well.
        Assert.Equal(0, early.Receive(new byte[100]));
        Stop(server);
        Assert.Throws<SocketException>(Connect);
    }

    public void Dispose()
    {
        _thread.Stop();
        File.Delete(_path);
    }

    private ControlServer Start(ControlHandler handler)
    {
        var server = new ControlServer(_thread.Loop, handler, _ => { });
        var socket = LinuxSocket.ListenUnix(_path);
        _thread.Loop.Invoke(() => server.Listen(socket));
        return server;
    }

    private void Stop(ControlServer server) =>
        Assert.True(_thread.Loop.StartUntilEnded(server.Stop)
            .Wait(ControlServer.GraceMilliseconds * 10, TestContext.Current.CancellationToken), "the end is held up");

    private Socket Connect()
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 20_000 };
        socket.Connect(new UnixDomainSocketEndPoint(_path));
        return socket;
    }

    private string Ask(string line)
    {
        using var socket = Connect();
        socket.Send(Encoding.UTF8.GetBytes(line + "\n"));
        using var reader = new StreamReader(new NetworkStream(socket));
        return reader.ReadLine()!;
    }
}
