using System.Net.Sockets;
using Lincow.Linux;

namespace Lincow.Tests.Linux.Sockets;

/// <summary>Whose socket a path leads to, when servers come and go.</summary>
public sealed class ListeningSocketTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("lincow-").FullName;

    private string At => Path.Combine(_directory, "s");

    [Fact]
    public void A_server_removes_its_own_socket()
    {
        var socket = ListeningSocket.Bind(At, null);
        socket.RemovePath();
        Assert.False(File.Exists(At));
        socket.RemovePath();
        LinuxSocket.Close(socket.Descriptor);
    }

    [Fact]
    public async Task A_socket_is_its_owners_alone_and_nothing_that_is_made_beside_it_has_another_mode()
    {
        const UnixFileMode own = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        using var isOver = new ManualResetEventSlim();
        var beside = Task.Run(() =>
        {
            var modes = new HashSet<UnixFileMode>();
            for (var i = 0; !isOver.IsSet; i++)
                modes.Add(File.GetUnixFileMode(Directory.CreateDirectory(Path.Combine(_directory, $"d{i}"), own).FullName));
            return modes;
        }, TestContext.Current.CancellationToken);
        for (var round = 0; round < 2000; round++)
        {
            var socket = ListeningSocket.Bind(At, null);
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(At));
            socket.RemovePath();
            LinuxSocket.Close(socket.Descriptor);
        }
        isOver.Set();
        Assert.Equal([own], await beside);
    }

    [Fact]
    public void A_server_leaves_a_successors_socket_alone()
    {
        var first = ListeningSocket.Bind(At, null);
        // Somebody cleared the path by hand, and started another server.
        File.Delete(At);
        var second = ListeningSocket.Bind(At, null);
        first.RemovePath();
        Assert.True(File.Exists(At));
        using var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        client.Connect(new UnixDomainSocketEndPoint(At));
        second.RemovePath();
        Assert.False(File.Exists(At));
        LinuxSocket.Close(first.Descriptor);
        LinuxSocket.Close(second.Descriptor);
    }

    [Fact]
    public void Of_servers_that_find_one_stale_socket_exactly_one_takes_it_over()
    {
        for (var round = 0; round < 50; round++)
        {
            LinuxSocket.Close(ListeningSocket.Bind(At, null).Descriptor);
            Assert.True(File.Exists(At));
            var bound = new ListeningSocket?[4];
            Parallel.For(0, bound.Length, i =>
            {
                try
                {
                    bound[i] = ListeningSocket.Bind(At, null);
                }
                catch (LinuxException e) when (e.Errno == Errno.AddressInUse)
                {
                    // Another was first.
                }
            });
            var winner = Assert.Single(bound, socket => socket is not null)!;
            winner.RemovePath();
            Assert.False(File.Exists(At), $"round {round}: the socket at the path isn't the winner's");
            LinuxSocket.Close(winner.Descriptor);
        }
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);
}
