using System.Buffers.Binary;

namespace Lincow.Fuzz;

/// <summary>Takes an input apart into what a target needs. Behind its end everything is 0, so every input means something.</summary>
internal ref struct FuzzInput(ReadOnlySpan<byte> rest)
{
    private ReadOnlySpan<byte> _rest = rest;

    public readonly bool IsEmpty => _rest.IsEmpty;

    public byte U8()
    {
        var value = _rest.IsEmpty ? (byte)0 : _rest[0];
        _rest = _rest[Math.Min(1, _rest.Length)..];
        return value;
    }

    public ushort U16() => (ushort)(U8() | U8() << 8);

    public uint U32() => U16() | (uint)U16() << 16;

    public ReadOnlySpan<byte> Bytes(int count)
    {
        count = Math.Min(count, _rest.Length);
        var taken = _rest[..count];
        _rest = _rest[count..];
        return taken;
    }

    public ReadOnlySpan<byte> Rest() => Bytes(_rest.Length);

    /// <summary>
    /// Changes bytes of a block in place, as many times as the input says: an offset, then how, then 1 to 8 bytes or a number. So an input
    /// of a few bytes damages a block of kilobytes where the fuzzer wants it.
    /// </summary>
    public void Patch(scoped Span<byte> block)
    {
        for (var count = U8() & 15; count > 0; count--)
        {
            var at = U16() % block.Length;
            var how = U8();
            var field = block[at..Math.Min(block.Length, at + 1 + (how & 7))];
            if ((how & 8) != 0)
                field.Fill(U8());
            else if ((how & 16) != 0 && field.Length == 8)
                BinaryPrimitives.WriteInt64LittleEndian(field, 1L << (U8() & 63) | (long)(sbyte)U8());
            else if ((how & 32) != 0)
                field[0] ^= (byte)(1 << (how >> 6 | (how & 4)));
            else
                Bytes(field.Length).CopyTo(field);
        }
    }
}

/// <summary>A promise of lincow does not hold for this input.</summary>
internal sealed class BrokenPromiseException(string message) : Exception(message)
{
    public static void Require(bool holds, string promise)
    {
        if (!holds)
            throw new BrokenPromiseException(promise);
    }
}
