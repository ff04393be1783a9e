using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace Lincow.Linux;

/// <summary>The stream sockets that the loop's servers listen on: Unix-domain and TCP, as descriptors.</summary>
internal static unsafe class LinuxSocket
{
    public const int DontWait = 0x40, NoSignal = 0x4000;

    /// <summary>
    /// MSG_NOSIGNAL: a client that is gone is an error, not a signal. Not MSG_WAITALL: short sends show that a client is alive.
    /// </summary>
    public const uint SendFlags = NoSignal;

    private const int FamilyUnix = 1, FamilyInet = 2, FamilyInet6 = 10, Stream = 1;

    /// <summary>Connections that may wait to be accepted.</summary>
    private const int Backlog = 4096;

    /// <summary>
    /// Listens on a Unix socket that only its owner may use (mode 0600), or who is given access. A stale socket file, which nobody listens
    /// on, is replaced; a live one is EADDRINUSE; anything else at the path is left alone (EEXIST). A path may be longer than an address
    /// (<see cref="UnixAddress"/>).
    /// </summary>
    public static int ListenUnix(string path, SocketAccess? access = null)
    {
        using var place = UnixAddress.Of(path);
        var address = place.ToBytes();
        var listener = Open(FamilyUnix, path);
        try
        {
            // mutation: stale-socket-replaced-by-two
            using var turn = BindingTurn.Take(path);
            // Linux gives the path the mode of the socket (unix_bind in net/unix/af_unix.c). umask is the whole process's: what other
            // threads make meanwhile would be narrowed by it.
            const uint ownersAlone = 0x180;
            if (Libc.fchmod(listener, ownersAlone) < 0)
                throw new LinuxException("fchmod", path, Libc.LastError);
            var result = Bind(listener, address);
            var error = Libc.LastError;
            if (result < 0 && error == Errno.AddressInUse)
            {
                RemoveStale(path, address);
                result = Bind(listener, address);
                error = Libc.LastError;
            }
            if (result < 0)
                throw new LinuxException("bind", path, error);
            if (access is not null)
                Grant(access, place.Path, path);
            if (Libc.listen(listener, Backlog) < 0)
                throw new LinuxException("listen", path, Libc.LastError);
            return listener;
        }
        catch
        {
            _ = Libc.close(listener);
            throw;
        }
    }

    // What can't be given to whom it is meant for is given to nobody.
    private static void Grant(SocketAccess access, string address, string path)
    {
        try
        {
            access.Grant(address, path);
        }
        catch (LinuxException)
        {
            _ = Libc.unlink(address);
            throw;
        }
    }

    /// <summary>Listens on a TCP address; port 0 lets the system choose. Returns the descriptor and the port.</summary>
    public static (int Descriptor, int Port) ListenTcp(IPAddress host, int port)
    {
        var subject = new IPEndPoint(host, port).ToString();
        var address = InternetAddress(host, port);
        var listener = Open(host.AddressFamily == AddressFamily.InterNetworkV6 ? FamilyInet6 : FamilyInet, subject);
        const int solSocket = 1, reuseAddress = 2;
        SetOption(listener, solSocket, reuseAddress, 1);
        if (Bind(listener, address) < 0 || Libc.listen(listener, Backlog) < 0)
        {
            var error = Libc.LastError;
            _ = Libc.close(listener);
            throw new LinuxException("bind", subject, error);
        }
        var bound = stackalloc byte[28];
        uint length = 28;
        _ = Libc.getsockname(listener, bound, &length);
        return (listener, bound[2] << 8 | bound[3]);
    }

    /// <summary>A connected pair of Unix stream sockets.</summary>
    public static (int First, int Second) Pair()
    {
        var pair = stackalloc int[2];
        if (Libc.socketpair(FamilyUnix, Stream | Libc.CloseOnExec, 0, pair) < 0)
            throw new LinuxException("socketpair", "sockets", Libc.LastError);
        return (pair[0], pair[1]);
    }

    /// <summary>Small replies leave at once (proto.md asks for it); a Unix socket ignores this.</summary>
    public static void DisableNagle(int descriptor)
    {
        const int tcp = 6, noDelay = 1;
        SetOption(descriptor, tcp, noDelay, 1);
    }

    /// <summary>Whether a socket is a Unix one, which the file system protects.</summary>
    public static bool IsUnix(int descriptor)
    {
        const int solSocket = 1, domain = 39;
        int family;
        uint length = sizeof(int);
        return Libc.getsockopt(descriptor, solSocket, domain, &family, &length) == 0 && family == FamilyUnix;
    }

    /// <summary>
    /// A TCP peer that says nothing for a minute is asked whether it is still there, and after a minute without an answer the connection is
    /// over. No TCP_USER_TIMEOUT: it would also cut off a peer that is there but takes nothing for a while, such as a virtual machine that
    /// is paused.
    /// </summary>
    public static void KeepAlive(int descriptor)
    {
        const int solSocket = 1, keepAlive = 9, tcp = 6, idle = 4, interval = 5, count = 6;
        SetOption(descriptor, tcp, idle, 60);
        SetOption(descriptor, tcp, interval, 10);
        SetOption(descriptor, tcp, count, 6);
        SetOption(descriptor, solSocket, keepAlive, 1);
    }

    /// <summary>
    /// Room for more in flight, so that a large reply needs few wake-ups: beyond the system's limit where we may (SO_SNDBUFFORCE needs
    /// CAP_NET_ADMIN), else up to it.
    /// </summary>
    public static void SetSendBufferBytes(int descriptor, int bytes)
    {
        const int solSocket = 1, sendBuffer = 7, sendBufferForce = 32;
        if (Libc.setsockopt(descriptor, solSocket, sendBufferForce, &bytes, 4) < 0)
            SetOption(descriptor, solSocket, sendBuffer, bytes);
    }

    public const int ShutdownReceive = 0, ShutdownBoth = 2;

    /// <summary>Ends receiving, or both directions: what waits on the socket completes.</summary>
    public static void Shutdown(int descriptor, int how) => _ = Libc.shutdown(descriptor, how);

    /// <summary>Whether the other end is closed, unread data or not.</summary>
    public static bool IsHungUp(int descriptor)
    {
        const short hangUp = 16;
        var poll = new PollDescriptor { Descriptor = descriptor };
        return Libc.poll(&poll, 1, 0) > 0 && (poll.Returned & hangUp) != 0;
    }

    public static void Close(int descriptor) => _ = Libc.close(descriptor);

    private static int Open(int family, string subject)
    {
        var descriptor = Libc.socket(family, Stream | Libc.CloseOnExec, 0);
        return descriptor >= 0 ? descriptor : throw new LinuxException("socket", subject, Libc.LastError);
    }

    private static int Bind(int descriptor, byte[] address)
    {
        fixed (byte* start = address)
            return Libc.bind(descriptor, start, (uint)address.Length);
    }

    /// <summary>
    /// Two servers that find the same stale socket must not both replace it, for the second would take the first one's away: who binds
    /// holds a lock on the directory. Somebody else's lock, or a directory that can't be locked, holds nobody up for long.
    /// </summary>
    private sealed class BindingTurn(int directory) : IDisposable
    {
        private const int Exclusive = 2, DoNotBlock = 4, Tries = 100, TryMilliseconds = 10;

        public static BindingTurn Take(string path)
        {
            var directory = Libc.open(Path.GetDirectoryName(LinuxPath.Full(path))!, Libc.ReadOnly | Libc.CloseOnExec, 0);
            for (var i = 0; directory >= 0 && i < Tries && Libc.flock(directory, Exclusive | DoNotBlock) < 0
                && Libc.LastError is Errno.Again or Errno.Interrupted; i++)
                Thread.Sleep(TryMilliseconds);
            return new BindingTurn(directory);
        }

        public void Dispose()
        {
            if (directory >= 0)
                _ = Libc.close(directory);
        }
    }

    private static void RemoveStale(string path, byte[] address)
    {
        if ((File.GetAttributes(path) & FileAttributes.Directory) != 0 || !LinuxPath.IsSocket(path))
            throw new LinuxException("bind", path, Errno.Exists);
        var probe = Open(FamilyUnix, path);
        int result, error;
        fixed (byte* start = address)
            result = Libc.connect(probe, start, (uint)address.Length);
        error = Libc.LastError;
        var isGone = result == 0 ? ListenerIsGone(probe) : error == Errno.ConnectionRefused;
        _ = Libc.close(probe);
        if (!isGone)
            throw new LinuxException("bind", path, Errno.AddressInUse);
        File.Delete(path);
    }

    /// <summary>
    /// After kill -9 a listening socket outlives its process for a moment, because the kernel ends a ring's requests in the background.
    /// </summary>
    private static bool ListenerIsGone(int connected)
    {
        const int solSocket = 1, peerCredentials = 17, noSuchProcess = 3;
        // struct ucred: the process that called listen, its user, its group. 0 is a process that can't be seen from here.
        var credentials = stackalloc int[3];
        uint length = 3 * sizeof(int);
        return Libc.getsockopt(connected, solSocket, peerCredentials, credentials, &length) == 0 && credentials[0] > 0
            && Libc.kill(credentials[0], 0) < 0 && Libc.LastError == noSuchProcess;
    }

    private static byte[] InternetAddress(IPAddress host, int port)
    {
        var bytes = host.GetAddressBytes();
        var six = bytes.Length == 16;
        var address = new byte[six ? 28 : 16];
        address[0] = six ? (byte)FamilyInet6 : (byte)FamilyInet;
        BinaryPrimitives.WriteUInt16BigEndian(address.AsSpan(2), (ushort)port);
        bytes.CopyTo(address, six ? 8 : 4);
        return address;
    }

    private static void SetOption(int descriptor, int level, int name, int value) =>
        _ = Libc.setsockopt(descriptor, level, name, &value, 4);
}
