using System.Net;
using System.Net.Sockets;
using Lincow.Linux;
using Lincow.Serving.Exports;
using Lincow.Serving.Frontends.VhostUser;

namespace Lincow.Serving.Hosting;

/// <summary>
/// A socket on which a host listens, for NBD clients of all its exports or for virtual machines that use one of them. Accepting is the same
/// for all of them (<see cref="Acceptor"/>), on the loop in front.
/// </summary>
public sealed class Listener
{
    private readonly Host _host;
    private readonly ListeningSocket? _socket;
    private readonly string _uriBase;
    private readonly Acceptor _acceptor;
    private readonly Lock _gate = new();
    private Task? _acceptingStopped, _vhostEnded;

    private Listener(Host host, ListenAddress address, Export? export, Func<Listener, Func<int, bool>> taker, string scheme)
    {
        (_host, Export) = (host, export);
        int descriptor;
        (descriptor, _socket, Address) = Bind(address);
        _uriBase = Address switch
        {
            ListenAddress.Unix(var path) => export is not null ? $"{scheme}:{path}" : $"{scheme}+unix:///{{0}}?socket={EscapePath(path)}",
            ListenAddress.Tcp(var name, var port) =>
                $"{scheme}://{(name.Contains(':', StringComparison.Ordinal) ? $"[{name}]" : name)}:{port}/{{0}}",
            _ => throw new ArgumentOutOfRangeException(nameof(address)),
        };
        var what = export is null ? "accepting a connection" : $"{export.Name}: accepting a vhost-user connection";
        _acceptor = new Acceptor(host.Front, descriptor, taker(this), reason => host.Options.Log($"{what} {reason}"));
    }

    /// <summary>Where it listens, with the port that the system chose.</summary>
    public ListenAddress Address { get; }

    /// <summary>For virtual machines: the export that they use. Null for NBD, where clients choose one.</summary>
    public Export? Export { get; }

    /// <summary>The virtual machine that uses the export, for vhost-user.</summary>
    internal VhostServer? Vhost { get; private set; }

    /// <summary>
    /// Where a client connects for an export: an NBD URI (github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md) or
    /// <c>vhost-user:PATH</c>. Null for another export than that of a socket for vhost-user.
    /// </summary>
    public string? UriOf(Export export) => Export is not null ? Export == export ? _uriBase : null
        : _uriBase.Replace("{0}", Uri.EscapeDataString(export.Name), StringComparison.Ordinal);

    /// <summary>
    /// Listens no more, and takes a Unix socket's path away. NBD clients that are connected stay; a virtual machine's connection ends when
    /// its requests have been answered.
    /// </summary>
    public Task StopAsync() => _host.StopListeningAsync(this);

    internal static Listener ForNbd(Host host, ListenAddress address, bool tls, Action<int> take) => new(host, address, null, _ => socket =>
    {
        take(socket);
        return true;
    }, tls ? "nbds" : "nbd");

    internal static Listener ForVhostUser(Host host, ListenAddress.Unix address, Export export) => new(host, address, export, listener =>
    {
        var vhost = listener.Vhost = new VhostServer(export, () => host.Front.Post(listener._acceptor.Resume), host.Options.Log);
        return vhost.Take;
    }, "vhost-user");

    internal void Start() => _host.Front.Post(_acceptor.Resume);

    /// <summary>Takes the socket's file away, and ends when nobody is accepted any more.</summary>
    internal Task StopAcceptingAsync()
    {
        lock (_gate)
        {
            if (_acceptingStopped is null)
            {
                // While we still listen there, nobody else can have bound the path.
                _socket?.RemovePath();
                _acceptingStopped = _host.Front.StartUntilEnded(_acceptor.Stop);
            }
            return _acceptingStopped;
        }
    }

    /// <summary>Ends when no virtual machine is connected any more. After <see cref="StopAcceptingAsync"/>.</summary>
    internal Task EndVhostAsync()
    {
        lock (_gate)
            return Vhost is { } vhost && !Export!.IsLost ? _vhostEnded ??= Export.Loop.StartUntilEnded(vhost.Stop) : Task.CompletedTask;
    }

    private static (int Descriptor, ListeningSocket? Socket, ListenAddress Address) Bind(ListenAddress address)
    {
        try
        {
            switch (address)
            {
                case ListenAddress.Unix unix:
                    var socket = ListeningSocket.Bind(unix.Path, new SocketAccess((uint)unix.Mode, unix.Group));
                    return (socket.Descriptor, socket, address);
                case ListenAddress.Tcp(var name, var port):
                    var resolved = IPAddress.TryParse(name, out var parsed) ? parsed : Dns.GetHostAddresses(name)[0];
                    var (descriptor, bound) = LinuxSocket.ListenTcp(resolved, port);
                    return (descriptor, null, new ListenAddress.Tcp(name, bound));
                default:
                    throw new ArgumentOutOfRangeException(nameof(address));
            }
        }
        catch (LinuxException e)
        {
            throw new LincowException(HostErrors.CannotListen(e), e);
        }
        catch (SocketException e)
        {
            throw new LincowException(HostErrors.AddressUnusable(address.ToString(), e), e);
        }
    }

    private static string EscapePath(string path) => string.Join('/', path.Split('/').Select(Uri.EscapeDataString));
}
