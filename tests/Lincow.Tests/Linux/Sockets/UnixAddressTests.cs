using System.Net.Sockets;
using Lincow.Linux;

namespace Lincow.Tests.Linux.Sockets;

/// <summary>Sockets at paths that an address has no room for, and who may connect.</summary>
public sealed class UnixAddressTests : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly string _directory = Directory.CreateTempSubdirectory("lincow-").FullName;

    [Theory]
    [InlineData(1)]
    [InlineData(107)]
    [InlineData(108)]
    [InlineData(1000)]
    public void A_socket_is_listened_on_and_connected_to_at_a_path_of_any_length(int directoryBytes)
    {
        var at = Path.Combine(Deep(directoryBytes), "s");
        var socket = ListeningSocket.Bind(at, null);
        Assert.Equal(OwnerOnly, File.GetUnixFileMode(at));
        Connect(at);
        // Somebody else is told that it is taken; one that nobody listens on is replaced.
        Assert.Equal(Errno.AddressInUse, Assert.Throws<LinuxException>(() => ListeningSocket.Bind(at, null)).Errno);
        LinuxSocket.Close(socket.Descriptor);
        var successor = ListeningSocket.Bind(at, null);
        Connect(at);
        successor.RemovePath();
        Assert.False(File.Exists(at));
        LinuxSocket.Close(successor.Descriptor);
    }

    [Fact]
    public void No_descriptor_is_left_of_an_address()
    {
        var at = Path.Combine(Deep(300), "s");
        UnixAddress.Of(at).Dispose();
        Assert.DoesNotContain(Directory.EnumerateFileSystemEntries("/proc/self/fd"),
            entry => new FileInfo(entry).LinkTarget == Path.GetDirectoryName(at));
    }

    [Fact]
    public void A_name_that_is_too_long_by_itself_is_refused()
    {
        var error = Assert.Throws<LinuxException>(() => ListeningSocket.Bind(Path.Combine(_directory, new string('s', 200)), null));
        Assert.Equal(Errno.NameTooLong, error.Errno);
    }

    [Theory]
    [InlineData(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite)]
    [InlineData((UnixFileMode)0x1b6)]
    [InlineData(UnixFileMode.UserWrite)]
    public void A_socket_has_the_mode_that_was_asked_for_whatever_umask_says(UnixFileMode mode)
    {
        var at = Path.Combine(_directory, "s");
        var socket = ListeningSocket.Bind(at, new SocketAccess((uint)mode, LinuxPath.ThisGroup));
        Assert.Equal(mode, File.GetUnixFileMode(at));
        socket.RemovePath();
        LinuxSocket.Close(socket.Descriptor);
    }

    [Theory]
    [InlineData(20, false)]
    [InlineData(120, true)]
    public void A_directory_for_sockets_is_where_others_can_connect(int temporaryBytes, bool isElsewhere)
    {
        var temporary = Deep(temporaryBytes);
        var directory = SocketDirectory.Make("lincow-test-", "nbd.sock", temporary);
        Assert.Equal(isElsewhere ? "/tmp" : temporary, Path.GetDirectoryName(directory));
        Assert.Equal(OwnerOnly | UnixFileMode.UserExecute, File.GetUnixFileMode(directory));
        Directory.Delete(directory);
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private static void Connect(string at)
    {
        using var address = UnixAddress.Of(at);
        using var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        client.Connect(new UnixDomainSocketEndPoint(address.Path));
    }

    // A directory whose path has at least so many bytes.
    private string Deep(int bytes)
    {
        var path = _directory;
        while (path.Length < bytes)
            path = Path.Combine(path, new string('d', Math.Min(200, Math.Max(1, bytes - path.Length - 1))));
        return Directory.CreateDirectory(path).FullName;
    }
}
