using System.Net.Sockets;
using System.Text.Json;
using Lincow.Linux;

namespace Lincow.Serving.Control;

/// <summary>Asks a serving process something over its control socket.</summary>
internal static class ControlClient
{
    /// <summary>Sends a request and waits for the reply. Null when nobody answers: the server ended, or stands still.</summary>
    public static ControlReply? Ask(ServingRecord server, ControlRequest request, TimeSpan patience)
    {
        try
        {
            using var address = UnixAddress.Of(RunDirectory.SocketPath(server));
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            socket.SendTimeout = socket.ReceiveTimeout = (int)patience.TotalMilliseconds;
            socket.Connect(new UnixDomainSocketEndPoint(address.Path));
            socket.Send([.. JsonSerializer.SerializeToUtf8Bytes(request, ControlJson.Default.ControlRequest), (byte)'\n']);
            using var stream = new NetworkStream(socket);
            using var reader = new StreamReader(stream);
            return reader.ReadLine() is { } line ? JsonSerializer.Deserialize(line, ControlJson.Default.ControlReply) : null;
        }
        catch (Exception e) when (e is SocketException or IOException or JsonException)
        {
            return null;
        }
    }
}
