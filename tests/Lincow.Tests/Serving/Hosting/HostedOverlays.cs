using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Lincow.Operations;
using Lincow.Serving.Exports;
using Lincow.Serving.Hosting;
using Lincow.Tests.Serving.Frontends.Nbd;

namespace Lincow.Tests.Serving.Hosting;

/// <summary>A host in this process, with a directory for overlays and a socket. It leaves no record in the run directory.</summary>
internal sealed class HostedOverlays : IAsyncDisposable
{
    public const int Bytes = 4 << 20;

    private readonly string _directory = Directory.CreateTempSubdirectory("lincow-h").FullName;
    private readonly List<string> _messages = [];
    private readonly Listener _listener;

    public HostedOverlays(double stopSeconds = HostOptions.DefaultStopSeconds)
    {
        Host = new Host(new HostOptions { IsRegistered = false, Log = Log, StopTimeout = TimeSpan.FromSeconds(stopSeconds) });
        _listener = Host.Listen(ListenAddress.AtPath(this["socket"]));
    }

    public Host Host { get; }

    public string this[string name] => Path.Combine(_directory, name);

    public string Messages
    {
        get
        {
            lock (_messages)
                return string.Join('\n', _messages);
        }
    }

    /// <summary>An overlay of zeroes, as a file; made on first use.</summary>
    public ExportOptions Overlay(string name)
    {
        if (!File.Exists(this[name + ".cow"]))
            OverlayCreator.Create(new CreateOptions { Overlay = this[name + ".cow"], Origin = $"zero:{Bytes}" });
        return new ExportOptions { Overlay = new OverlayOptions { Overlay = this[name + ".cow"] } };
    }

    /// <summary>A transient overlay of zeroes.</summary>
    public static ExportOptions Transient(string name) => new() { Overlay = new OverlayOptions { Origin = $"zero:{Bytes}" }, Name = name };

    /// <summary>Connects and gets as far as transmission.</summary>
    public NbdTestClient Connect(string export) =>
        Connect(this["socket"], export) ?? throw new InvalidOperationException($"'{export}' is not there");

    /// <summary>Whether a client that asks for a name finds an export.</summary>
    public bool IsFound(string export)
    {
        using var client = Connect(this["socket"], export);
        return client is not null;
    }

    /// <summary>Null when the server has no such export, and closes the connection.</summary>
    public static NbdTestClient? Connect(string path, string export)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
        {
            ReceiveTimeout = 20_000,
            SendTimeout = 20_000
        };
        socket.Connect(new UnixDomainSocketEndPoint(path));
        var client = new NbdTestClient(socket, structured: false, extended: false);
        client.ReceiveExactly(new byte[18]);
        var option = new byte[20];
        option[3] = 3;
        "IHAVEOPT"u8.CopyTo(option.AsSpan(4));
        BinaryPrimitives.WriteUInt32BigEndian(option.AsSpan(12), 1);
        BinaryPrimitives.WriteUInt32BigEndian(option.AsSpan(16), (uint)Encoding.UTF8.GetByteCount(export));
        client.Send([.. option, .. Encoding.UTF8.GetBytes(export)]);
        if (socket.Receive(new byte[1], SocketFlags.Peek) == 0)
        {
            client.Dispose();
            return null;
        }
        client.ReceiveExactly(new byte[10]);
        return client;
    }

    public async ValueTask DisposeAsync()
    {
        await Host.DisposeAsync();
        Assert.False(File.Exists(this["socket"]), "the socket's path is still there");
        Directory.Delete(_directory, recursive: true);
    }

    private void Log(string message)
    {
        lock (_messages)
            _messages.Add(message);
    }
}
