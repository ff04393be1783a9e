using Lincow.Origins;
using Lincow.Stores.Linear;
using static Lincow.Fuzz.BrokenPromiseException;

namespace Lincow.Fuzz.Targets;

/// <summary>Both superblock slots, from a sound one with damage in it, sealed again or not.</summary>
internal sealed class SuperblockTarget : IFuzzTarget
{
    private static readonly Superblock Front = new()
    {
        Uuid = new Guid(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11),
        Sequence = 3,
        Generation = 2,
        DeviceBytes = 1 << 20,
        MaxDeviceBytes = 2 << 20,
        ChunkShift = 12,
        Layout = LinearLayout.Front,
        DataOffset = 1 << 20,
        Origin = new OriginIdentity(OriginKind.File, 1 << 20, 5, 6, 7),
        OriginUri = "/images/golden.img",
    };

    private readonly byte[] _both = new byte[2 * Superblock.SizeBytes];
    private readonly byte[] _again = new byte[Superblock.SizeBytes];

    public void Run(ReadOnlySpan<byte> bytes)
    {
        var input = new FuzzInput(bytes);
        var how = input.U8();
        var start = (how & 4) == 0 ? Front : Front with { Layout = LinearLayout.Separate, DataOffset = 0, DataPath = "/data/work.img" };
        for (var slot = 0; slot < 2; slot++)
        {
            var block = _both.AsSpan(slot * Superblock.SizeBytes, Superblock.SizeBytes);
            start.Encode(block);
            input.Patch(block);
            if ((how & 1 << slot) == 0)
                Seal.Superblock(block);
        }
        SuperblockReading reading;
        try
        {
            reading = SuperblockFile.Decode(_both, "fuzzed");
        }
        catch (LincowException)
        {
            return;
        }
        if (reading.Current is not { } current)
        {
            Require(reading.First != SlotProblem.None && reading.Second != SlotProblem.None, "a sound slot is used");
            return;
        }
        Require(current.DeviceBytes is > 0 and <= Geometry.MaxDeviceBytes, "device size");
        Require(current.ChunkShift is >= 9 and <= 26, "chunk shift");
        Require(current.MapBytes > 0 && current.MapFileBytes >= Superblock.MapOffsetBytes
            && current.DataFileBytes >= current.DeviceBytes, "lengths that don't overflow");
        Require(current.Layout == LinearLayout.Separate
            ? current.DataOffset == 0 : current.DataOffset >= Superblock.MapOffsetBytes + current.MapBytes, "data after the map");
        current.Encode(_again);
        Require(Superblock.TryDecode(_again, "again", out _) == current, "what was read is what is written");
    }
}
