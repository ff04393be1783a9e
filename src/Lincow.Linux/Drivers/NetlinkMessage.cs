using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;

namespace Lincow.Linux;

/// <summary>
/// One message of generic netlink that is being written (<c>linux/netlink.h</c>, <c>linux/genetlink.h</c>): a header of 16 bytes, one of 4,
/// then attributes, each with its length and type in front and padded to 4 bytes. All in the machine's byte order.
/// </summary>
internal sealed class NetlinkMessage
{
    public const int HeaderBytes = 16, GenericHeaderBytes = 4, AttributeHeaderBytes = 4;

    /// <summary>Types of answers: an error (0 is an acknowledgement), the end of several.</summary>
    public const ushort Error = 2, Done = 3;

    private const ushort Request = 1, Acknowledge = 4;

    private readonly List<byte> _bytes = [];

    public NetlinkMessage(ushort family, byte command, byte version, uint sequence)
    {
        Append<uint>(0);
        Append(family);
        Append((ushort)(Request | Acknowledge));
        Append(sequence);
        Append<uint>(0);
        _bytes.AddRange([command, version, 0, 0]);
    }

    public NetlinkMessage Add(ushort type, uint value) => AddBytes(type, MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(in value)));

    public NetlinkMessage Add(ushort type, ulong value) => AddBytes(type, MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in value)));

    /// <summary>A string with its NUL.</summary>
    public NetlinkMessage Add(ushort type, string value) => AddBytes(type, Encoding.UTF8.GetBytes(value + '\0'));

    /// <summary>An attribute that consists of attributes.</summary>
    public NetlinkMessage Nest(ushort type, Action<NetlinkMessage> content)
    {
        const ushort nested = 0x8000;
        var start = _bytes.Count;
        Append<ushort>(0);
        Append((ushort)(type | nested));
        content(this);
        BinaryPrimitives.WriteUInt16LittleEndian(CollectionsMarshal.AsSpan(_bytes)[start..], (ushort)(_bytes.Count - start));
        return this;
    }

    /// <summary>The whole message, with its length filled in.</summary>
    public byte[] ToArray()
    {
        BinaryPrimitives.WriteUInt32LittleEndian(CollectionsMarshal.AsSpan(_bytes), (uint)_bytes.Count);
        return [.. _bytes];
    }

    /// <summary>The attributes that some bytes hold, the last one of each type; what is cut off is left out.</summary>
    public static Dictionary<ushort, byte[]> Attributes(ReadOnlySpan<byte> bytes)
    {
        var found = new Dictionary<ushort, byte[]>();
        while (bytes.Length >= AttributeHeaderBytes)
        {
            int length = BinaryPrimitives.ReadUInt16LittleEndian(bytes);
            if (length < AttributeHeaderBytes || length > bytes.Length)
                break;
            // The two highest bits are flags.
            found[(ushort)(BinaryPrimitives.ReadUInt16LittleEndian(bytes[2..]) & 0x3fff)] = bytes[AttributeHeaderBytes..length].ToArray();
            bytes = bytes[Math.Min(Padded(length), bytes.Length)..];
        }
        return found;
    }

    private NetlinkMessage AddBytes(ushort type, ReadOnlySpan<byte> value)
    {
        Append((ushort)(AttributeHeaderBytes + value.Length));
        Append(type);
        foreach (var each in value)
            _bytes.Add(each);
        while (_bytes.Count % 4 != 0)
            _bytes.Add(0);
        return this;
    }

    private void Append<T>(T value)
        where T : unmanaged
    {
        foreach (var each in MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)))
            _bytes.Add(each);
    }

    private static int Padded(int length) => (length + 3) & ~3;
}
