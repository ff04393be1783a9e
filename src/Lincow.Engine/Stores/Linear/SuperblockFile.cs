using Lincow.Blobs;
using Lincow.Linux;

namespace Lincow.Stores.Linear;

/// <summary>What was found at the two superblock slots.</summary>
/// <param name="Current">The newer sound one; null when there is none.</param>
/// <param name="First">Why slot 0 is not sound, if it isn't.</param>
/// <param name="Second">Why slot 1 is not sound, if it isn't.</param>
/// <param name="SlotsDiffer">Both are sound, of different updates: a cut between the two writes of one.</param>
/// <param name="CurrentSlot">The slot that <paramref name="Current"/> was read from.</param>
internal sealed record SuperblockReading(Superblock? Current, SlotProblem First, SlotProblem Second, bool SlotsDiffer, int CurrentSlot)
{
    public bool NeedsRepair => Current is not null && (First != SlotProblem.None || Second != SlotProblem.None || SlotsDiffer);

    public string? Damage =>
        First is not SlotProblem.None ? $"superblock slot 0 at byte 0 is damaged ({Word(First)})"
        : Second is not SlotProblem.None ? $"superblock slot 1 at byte {Superblock.SizeBytes} is damaged ({Word(Second)})"
        : null;

    private static string Word(SlotProblem problem) => problem switch
    {
        SlotProblem.Blank => "blank",
        SlotProblem.NotLincow => "no magic",
        SlotProblem.Checksum => "wrong checksum",
        _ => "impossible fields",
    };
}

/// <summary>Reads and writes the pair of superblocks in a blob.</summary>
internal static unsafe class SuperblockFile
{
    public static SuperblockReading Read(IBlob blob, BufferPool buffers)
    {
        var buffer = buffers.Rent(2 * Superblock.SizeBytes);
        try
        {
            var result = blob.ReadNow(0, buffer, 2 * Superblock.SizeBytes);
            if (result < 0)
                throw new LincowException(LinearErrors.SuperblockUnreadable(blob.Name, -result));
            return Decode(new ReadOnlySpan<byte>((void*)buffer.Address, 2 * Superblock.SizeBytes), blob.Name);
        }
        finally
        {
            buffers.Return(buffer);
        }
    }

    public static SuperblockReading Decode(ReadOnlySpan<byte> both, string path)
    {
        var first = Superblock.TryDecode(both[..Superblock.SizeBytes], path, out var firstProblem);
        var second = Superblock.TryDecode(both[Superblock.SizeBytes..], path, out var secondProblem);
        var slot = first is null || (second is not null && second.Sequence > first.Sequence) ? 1 : 0;
        var differ = first is not null && second is not null && first.Sequence != second.Sequence;
        return new SuperblockReading(slot == 0 ? first : second, firstProblem, secondProblem, differ, slot);
    }

    /// <summary>
    /// Writes both slots of a new overlay. One sync behind it is enough, since no earlier state has to survive: a cut leaves no superblock,
    /// one, or two that agree.
    /// </summary>
    public static void Create(LinuxFile file, Superblock superblock)
    {
        var both = new byte[2 * Superblock.SizeBytes];
        (superblock with { Sequence = superblock.Sequence + 1 }).Encode(both.AsSpan(0, Superblock.SizeBytes));
        both.AsSpan(0, Superblock.SizeBytes).CopyTo(both.AsSpan(Superblock.SizeBytes));
        file.Write(both, 0);
    }

    /// <summary>
    /// Writes the next state: one slot, sync, the other slot, sync. The first sync is the moment at which it holds; a cut before it leaves
    /// the old state in the other slot, and a cut after it is mended at the next open.
    /// </summary>
    public static Superblock Update(IBlob blob, Superblock superblock, BufferPool buffers)
    {
        var next = superblock with { Sequence = superblock.Sequence + 1 };
        WriteSlot(blob, 0, next, buffers);
        WriteSlot(blob, 1, next, buffers);
        return next;
    }

    /// <summary>
    /// Makes the slot that isn't current equal to the one that is. Comes before any <see cref="Update"/>, which must find two sound slots.
    /// </summary>
    public static void Repair(IBlob blob, SuperblockReading reading, BufferPool buffers) =>
        // mutation: superblock-repair-of-the-wrong-slot
        WriteSlot(blob, 1 - reading.CurrentSlot, reading.Current!, buffers);

    private static void WriteSlot(IBlob blob, int slot, Superblock superblock, BufferPool buffers)
    {
        var buffer = buffers.Rent(Superblock.SizeBytes);
        superblock.Encode(new Span<byte>((void*)buffer.Address, Superblock.SizeBytes));
        var result = blob.WriteUntilItSucceeds(slot * Superblock.SizeBytes, buffer, Superblock.SizeBytes);
        // mutation: superblock-without-sync (2 lines)
        if (result == 0)
            result = blob.FlushNow();
        buffers.Return(buffer);
        if (result < 0)
            throw new LincowException(LinearErrors.SuperblockUnwritable(blob.Name, slot, -result));
    }
}
