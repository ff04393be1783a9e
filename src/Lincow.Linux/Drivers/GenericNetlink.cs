using System.Buffers.Binary;

namespace Lincow.Linux;

/// <summary>A socket to one family of the kernel's generic netlink: a question, its answer, one at a time.</summary>
internal sealed unsafe class GenericNetlink : IDisposable
{
    private const int FamilyNetlink = 16, Raw = 3, ProtocolGeneric = 16;

    // The controller, which knows the families by name.
    private const ushort Controller = 16, ControllerFamilyId = 1, ControllerFamilyName = 2;
    private const byte ControllerGetFamily = 3, ControllerVersion = 2;

    /// <summary>Answers of the kernel are a page at most; a list of all of its devices may be more.</summary>
    private const int ReceiveBytes = 1 << 20;

    private readonly string _name;
    private readonly byte _version;
    private readonly int _socket;
    private readonly ushort _family;
    private uint _sequence;

    private GenericNetlink(string name, byte version)
    {
        (_name, _version) = (name, version);
        _socket = Libc.socket(FamilyNetlink, Raw | Libc.CloseOnExec, ProtocolGeneric);
        if (_socket < 0)
            throw new LinuxException("socket(AF_NETLINK)", name, Libc.LastError);
        try
        {
            var answer = Ask(Controller, ControllerGetFamily, ControllerVersion, message => message.Add(ControllerFamilyName, name));
            _family = BinaryPrimitives.ReadUInt16LittleEndian(answer[ControllerFamilyId]);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Throws <see cref="LinuxException"/>, with ENOENT where the kernel has no such family.</summary>
    public static GenericNetlink Open(string family, byte version) => new(family, version);

    /// <summary>
    /// Sends a command with its attributes; returns the attributes of the answer, none when it is only acknowledged. Throws
    /// <see cref="LinuxException"/>.
    /// </summary>
    public Dictionary<ushort, byte[]> Ask(byte command, Action<NetlinkMessage> fill) => Ask(_family, command, _version, fill);

    public void Dispose() => _ = Libc.close(_socket);

    private Dictionary<ushort, byte[]> Ask(ushort family, byte command, byte version, Action<NetlinkMessage> fill)
    {
        var message = new NetlinkMessage(family, command, version, ++_sequence);
        fill(message);
        var bytes = message.ToArray();
        fixed (byte* start = bytes)
        {
            if (Libc.write(_socket, (nint)start, bytes.Length) < 0)
                throw new LinuxException("netlink", _name, Libc.LastError);
        }
        var answer = new Dictionary<ushort, byte[]>();
        var buffer = new byte[ReceiveBytes];
        while (true)
        {
            int received;
            fixed (byte* start = buffer)
                received = (int)Libc.recv(_socket, (nint)start, buffer.Length, 0);
            if (received < 0 && Libc.LastError == Errno.Interrupted)
                continue;
            if (received <= 0)
                throw new LinuxException("netlink", _name, received < 0 ? Libc.LastError : Errno.Protocol);
            if (TryFinish(buffer.AsSpan(0, received), ref answer))
                return answer;
        }
    }

    /// <summary>Takes in messages; true when the last of them was the acknowledgement.</summary>
    private bool TryFinish(ReadOnlySpan<byte> bytes, ref Dictionary<ushort, byte[]> answer)
    {
        while (bytes.Length >= NetlinkMessage.HeaderBytes)
        {
            var length = (int)BinaryPrimitives.ReadUInt32LittleEndian(bytes);
            if (length < NetlinkMessage.HeaderBytes || length > bytes.Length)
                throw new LinuxException("netlink", _name, Errno.Protocol);
            var type = BinaryPrimitives.ReadUInt16LittleEndian(bytes[4..]);
            if (BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]) == _sequence)
            {
                if (type == NetlinkMessage.Error)
                {
                    var error = -BinaryPrimitives.ReadInt32LittleEndian(bytes[NetlinkMessage.HeaderBytes..]);
                    if (error != 0)
                        throw new LinuxException("netlink", _name, error);
                    return true;
                }
                if (type == NetlinkMessage.Done)
                    return true;
                answer = NetlinkMessage.Attributes(bytes[(NetlinkMessage.HeaderBytes + NetlinkMessage.GenericHeaderBytes)..length]);
            }
            bytes = bytes[Math.Min((length + 3) & ~3, bytes.Length)..];
        }
        return false;
    }
}
