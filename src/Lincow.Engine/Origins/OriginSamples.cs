using System.Buffers.Binary;
using System.IO.Hashing;

namespace Lincow.Origins;

/// <summary>
/// The samples of an origin's content, each hashed by itself: an origin of which a sector can't be read any longer, or can be again, is
/// recognised by the others. 64 words, XXH3-64 of a sample each; 0 for one that couldn't be read.
/// </summary>
internal sealed class OriginSamples
{
    public const int Count = 64, SampleBytes = 4096;

    /// <summary>Its length in the superblock: a word that says which hash of all samples they belong to, then the words.</summary>
    public const int EncodedBytes = (1 + Count) * sizeof(ulong);

    private readonly ulong[] _hashes = new ulong[Count];

    public OriginSamples(long sizeBytes) => SizeBytes = sizeBytes;

    /// <summary>How long the origin is, which decides where the samples lie.</summary>
    public long SizeBytes { get; }

    /// <summary>Where a sample begins: evenly spread, the first and the last block always among them.</summary>
    public long OffsetOf(int index) => (long)((Int128)Math.Max(0, (SizeBytes - 1) / SampleBytes) * index / (Count - 1)) * SampleBytes;

    public int LengthOf(int index) => (int)Math.Min(SampleBytes, SizeBytes - OffsetOf(index));

    /// <summary>Whether a sample is the one before it once more: of a small origin.</summary>
    public bool IsRepeated(int index) => SizeBytes == 0 || (index > 0 && OffsetOf(index) == OffsetOf(index - 1));

    /// <summary>Notes what a sample reads; what could not be read is left out.</summary>
    public void Set(int index, ReadOnlySpan<byte> sample) => _hashes[index] = Math.Max(1, XxHash3.HashToUInt64(sample));

    /// <summary>The first range that couldn't be read, of those that are looked at; null when there is none.</summary>
    public (long Start, long End)? FirstUnreadable()
    {
        for (var i = 0; i < Count; i++)
        {
            if (_hashes[i] == 0 && !IsRepeated(i))
                return (OffsetOf(i), OffsetOf(i) + LengthOf(i));
        }
        return null;
    }

    /// <summary>
    /// Where what can be read now, and could be then, differs; null when it is alike. False when there is nothing to compare.
    /// </summary>
    public bool TryCompare(OriginSamples then, out long? difference)
    {
        var compared = 0;
        difference = null;
        for (var i = 0; i < Count && difference is null; i++)
        {
            if (IsRepeated(i) || _hashes[i] == 0 || then._hashes[i] == 0)
                continue;
            compared++;
            if (_hashes[i] != then._hashes[i])
                difference = OffsetOf(i);
        }
        return compared > 0;
    }

    /// <summary>The same, and what was known before of those that can't be read now.</summary>
    public OriginSamples Over(OriginSamples? before)
    {
        var result = new OriginSamples(SizeBytes);
        for (var i = 0; i < Count; i++)
            result._hashes[i] = _hashes[i] != 0 || before is null || before.SizeBytes != SizeBytes ? _hashes[i] : before._hashes[i];
        return result;
    }

    public void Encode(Span<byte> field, UInt128 hashOfAll)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(field, (ulong)hashOfAll);
        for (var i = 0; i < Count; i++)
            BinaryPrimitives.WriteUInt64LittleEndian(field[((1 + i) * sizeof(ulong))..], _hashes[i]);
    }

    /// <summary>Null when none are there, or others than those of this hash: whoever wrote that one didn't know of them.</summary>
    public static OriginSamples? Decode(ReadOnlySpan<byte> field, long sizeBytes, UInt128 hashOfAll)
    {
        if (hashOfAll == 0 || field.Length < EncodedBytes || BinaryPrimitives.ReadUInt64LittleEndian(field) != (ulong)hashOfAll)
            return null;
        var result = new OriginSamples(sizeBytes);
        for (var i = 0; i < Count; i++)
            result._hashes[i] = BinaryPrimitives.ReadUInt64LittleEndian(field[((1 + i) * sizeof(ulong))..]);
        return result;
    }
}
