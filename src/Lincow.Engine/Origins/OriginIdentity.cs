using System.Buffers.Binary;
using System.Globalization;
using System.IO.Hashing;
using Lincow.Blobs;
using Lincow.Linux;

namespace Lincow.Origins;

internal enum OriginKind
{
    /// <summary>An origin of nothing: reads zeroes.</summary>
    Zero = 0,
    File = 1,
    BlockDevice = 2,
}

/// <summary>
/// What lets an overlay recognise its origin (docs/format.md, "Origin identity"): kind, size, modification time (files only: a device
/// node's says nothing of its content; nor does one of FUSE, which may be the mount's) and a hash of samples of the content.
/// </summary>
/// <param name="Kind">File, block device, or nothing.</param>
/// <param name="SizeBytes">Its length in bytes.</param>
/// <param name="ModifiedSeconds">Modification time, seconds since 1970; 0 for a device.</param>
/// <param name="ModifiedNanoseconds">The rest of the modification time.</param>
/// <param name="SampleHash">XXH3-128 over up to 64 samples of 4096 bytes.</param>
internal readonly record struct OriginIdentity(OriginKind Kind, long SizeBytes, long ModifiedSeconds, uint ModifiedNanoseconds,
    UInt128 SampleHash)
{
    /// <summary>Its length in the superblock.</summary>
    internal const int EncodedBytes = 48;

    /// <summary>The samples by themselves, where they are known. Two identities are equal whatever is known of them.</summary>
    internal OriginSamples? Samples { get; init; }

    /// <summary>It has no modification time that says something of its content.</summary>
    internal bool IsTimeless { get; init; }

    public bool Equals(OriginIdentity other) => (Kind, SizeBytes, ModifiedSeconds, ModifiedNanoseconds, SampleHash)
        == (other.Kind, other.SizeBytes, other.ModifiedSeconds, other.ModifiedNanoseconds, other.SampleHash);

    public override int GetHashCode() => HashCode.Combine(Kind, SizeBytes, ModifiedSeconds, ModifiedNanoseconds, SampleHash);

    /// <summary>Looks at an open origin. What it lies on is waited for, though not on a loop's thread.</summary>
    internal static async ValueTask<OriginIdentity> OfAsync(IBlobControl blob, CancellationToken stop = default)
    {
        var facts = await blob.ReadFactsAsync(stop).ConfigureAwait(false);
        if (facts.Kind == BlobKind.Nothing)
            return new OriginIdentity(OriginKind.Zero, facts.SizeBytes, 0, 0, 0);
        var isFile = facts.Kind == BlobKind.File;
        var (hash, samples) = await HashSamplesAsync(blob, facts.SizeBytes, stop).ConfigureAwait(false);
        return new OriginIdentity(isFile ? OriginKind.File : OriginKind.BlockDevice, facts.SizeBytes, isFile ? facts.ModifiedSeconds : 0,
            isFile ? facts.ModifiedNanoseconds : 0, hash)
        { Samples = samples, IsTimeless = isFile && facts.IsTimeless };
    }

    /// <summary>As <see cref="OfAsync"/>, for callers with a thread to spare.</summary>
    internal static OriginIdentity Of(LinuxFile file) => OfAsync(new FileControl(file)).Now();

    /// <summary>
    /// What is to be recorded while the origin is being written to: its content is not known then, only its size, which may be growing to
    /// another one (kept where the modification time is otherwise).
    /// </summary>
    // mutation: commit-expects-the-origin-unchanged (2 lines)
    internal static OriginIdentity Unsettled(OriginIdentity identity, long finalBytes) =>
        new(identity.Kind, identity.SizeBytes, finalBytes, 0, 0);

    private bool IsUnsettled => Kind != OriginKind.Zero && SampleHash == 0 && ModifiedNanoseconds == 0;

    /// <summary>What differs, as the user would say it; null when nothing does.</summary>
    public string? DifferenceFrom(OriginIdentity recorded)
    {
        if (Kind != recorded.Kind)
            return $"it is a {Name(Kind)} now and was a {Name(recorded.Kind)}";
        if (recorded.IsUnsettled && (SizeBytes == recorded.SizeBytes || SizeBytes == recorded.ModifiedSeconds))
            return null;
        if (SizeBytes != recorded.SizeBytes)
            return $"its size is {SizeBytes} bytes now and was {recorded.SizeBytes}";
        if (SampleHash != recorded.SampleHash && DifferenceOfSamples(recorded) is { } content)
            return content;
        // mutation: times-of-a-mount-compared
        if (!IsTimeless && (recorded.ModifiedSeconds, recorded.ModifiedNanoseconds) is not (0, 0)
            && (ModifiedSeconds, ModifiedNanoseconds) != (recorded.ModifiedSeconds, recorded.ModifiedNanoseconds))
            return $"it was modified at {Time(this)}, and at {Time(recorded)} when the overlay was made; its size and sampled content "
                + "are the same";
        return null;
    }

    /// <summary>
    /// What has changed of a blob since it was like this, a part of a sentence; null when nothing has. A file with a time of its own has
    /// been changed if that has; of others the samples are looked at.
    /// </summary>
    internal async ValueTask<string?> FindChangeAsync(IBlobControl blob)
    {
        var facts = await blob.ReadFactsAsync().ConfigureAwait(false);
        if (facts.SizeBytes != SizeBytes)
            return $"its size is {facts.SizeBytes} bytes now and was {SizeBytes}";
        if (Kind == OriginKind.File && !IsTimeless)
        {
            var now = this with { ModifiedSeconds = facts.ModifiedSeconds, ModifiedNanoseconds = facts.ModifiedNanoseconds };
            return now == this ? null : $"it was modified at {Time(now)}, and at {Time(this)} when it was opened";
        }
        var read = await OfAsync(blob).ConfigureAwait(false);
        return read.Samples is { } samples && Samples is { } before && samples.TryCompare(before, out var at) && at is { } offset
            ? string.Create(CultureInfo.InvariantCulture, $"its content differs, at byte {offset} among others") : null;
    }

    /// <summary>The same, and what an overlay knew of the samples that can't be read now.</summary>
    internal OriginIdentity Over(OriginIdentity recorded) => this with { Samples = Samples?.Over(recorded.Samples) };

    // Null when those that can be read are alike.
    private string? DifferenceOfSamples(OriginIdentity recorded)
    {
        const string differs = "its content differs (sampled hash)";
        if (Samples is { } now && recorded.Samples is { } then)
            // mutation: unreadable-sample-is-another-content
            return !now.TryCompare(then, out var at) ? "nothing of what it is recognised by can be read"
                : at is { } offset ? string.Create(CultureInfo.InvariantCulture, $"its content differs (sampled hash, at byte {offset})")
                : null;
        return Samples?.FirstUnreadable() is { } range ? string.Create(CultureInfo.InvariantCulture,
            $"bytes {range.Start} to {range.End}, by which it is recognised among others, can't be read, so it can't be compared")
            : differs;
    }

    internal void Encode(Span<byte> field)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(field, (uint)Kind);
        BinaryPrimitives.WriteUInt32LittleEndian(field[4..], ModifiedNanoseconds);
        BinaryPrimitives.WriteInt64LittleEndian(field[8..], SizeBytes);
        BinaryPrimitives.WriteInt64LittleEndian(field[16..], ModifiedSeconds);
        BinaryPrimitives.WriteUInt128LittleEndian(field[24..], SampleHash);
    }

    /// <param name="field">What <see cref="Encode"/> wrote.</param>
    /// <param name="samples">What is kept of the samples, if anything is.</param>
    internal static OriginIdentity Decode(ReadOnlySpan<byte> field, ReadOnlySpan<byte> samples = default)
    {
        var sizeBytes = BinaryPrimitives.ReadInt64LittleEndian(field[8..]);
        var hash = BinaryPrimitives.ReadUInt128LittleEndian(field[24..]);
        return new OriginIdentity((OriginKind)BinaryPrimitives.ReadUInt32LittleEndian(field), sizeBytes,
            BinaryPrimitives.ReadInt64LittleEndian(field[16..]), BinaryPrimitives.ReadUInt32LittleEndian(field[4..]), hash)
        { Samples = OriginSamples.Decode(samples, sizeBytes, hash) };
    }

    private static async ValueTask<(UInt128 Hash, OriginSamples Samples)> HashSamplesAsync(IBlobControl blob, long sizeBytes,
        CancellationToken stop)
    {
        var hash = new XxHash128();
        var samples = new OriginSamples(sizeBytes);
        var sample = new byte[OriginSamples.SampleBytes];
        for (var i = 0; i < OriginSamples.Count; i++)
        {
            // A small origin is hashed whole.
            if (samples.IsRepeated(i))
                continue;
            var read = await ReadSampleAsync(blob, sample.AsMemory(0, samples.LengthOf(i)), samples.OffsetOf(i), stop)
                .ConfigureAwait(false);
            hash.Append(read < 0 ? "unreadable"u8 : sample.AsSpan(0, read));
            if (read >= 0)
                samples.Set(i, sample.AsSpan(0, read));
        }
        return (hash.GetCurrentHashAsUInt128(), samples);
    }

    // A failing disk is an honest origin: a sample that can't be read counts as a marker of its own.
    private static async ValueTask<int> ReadSampleAsync(IBlobControl blob, Memory<byte> sample, long byteOffset, CancellationToken stop)
    {
        try
        {
            return await blob.ReadAsync(byteOffset, sample, stop).ConfigureAwait(false);
        }
        catch (Exception e) when (e is LinuxException or IOException)
        {
            return -1;
        }
    }

    private static string Name(OriginKind kind) => kind switch
    {
        OriginKind.File => "regular file",
        OriginKind.BlockDevice => "block device",
        _ => "zero origin",
    };

    private static string Time(OriginIdentity identity) =>
        DateTimeOffset.FromUnixTimeSeconds(Math.Clamp(identity.ModifiedSeconds, 0, 253402300799))
            .ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture)
        + "." + identity.ModifiedNanoseconds.ToString("D9", CultureInfo.InvariantCulture) + " UTC";
}
