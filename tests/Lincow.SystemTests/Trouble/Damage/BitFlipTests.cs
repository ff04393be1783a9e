using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Damage;

/// <summary>A sample of what the unit test of this name does for every byte, with the binary.</summary>
public class BitFlipTests
{
    private const int Samples = 16, MapOffset = 64 << 10, SlotBytes = 4096;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Flipped_bits_are_found_and_nothing_wrong_is_served(bool isCut)
    {
        const int seed = 20;
        var random = new Random(seed);
        using var served = new ServedOverlay(1 << 20);
        Nbd.QemuIo(served.Uri, "write -P 0x31 64k 64k", "flush", "write -P 0x32 256k 4k", "flush");
        if (isCut)
            served.Kill();
        else
            served.Stop();
        var right = Read(served, served.Overlay);
        Assert.NotNull(right);
        var copy = served.Scratch["flipped.cow"];
        for (var i = 0; i < Samples; i++)
        {
            var at = (i % 2 == 0 ? 0 : MapOffset) + random.Next(2 * SlotBytes);
            File.Copy(served.Overlay, copy, overwrite: true);
            Scratch.WriteAt(copy, at, [(byte)(Scratch.ReadAt(copy, at, 1)[0] ^ (1 << random.Next(8)))]);
            var finding = Assert.Single(Cli.Check(copy, Cli.DamageFound).Findings);
            Assert.Equal((copy, at < MapOffset ? at / SlotBytes * SlotBytes : MapOffset), (finding.File, finding.Offset));
            if (Read(served, copy) is { } content)
                Assert.True(right.AsSpan().SequenceEqual(content), $"seed {seed}: wrong data with a bit flipped in byte {at}");
        }
    }

    private static byte[]? Read(ServedOverlay served, string overlay)
    {
        var image = served.Scratch["read.img"];
        var result = Tool.Run(Cli.Binary, "run", "--read-only", overlay, "--", "sh", "-c", $"nbdcopy \"$LINCOW_URI\" '{image}'");
        return result.ExitCode == 0 ? File.ReadAllBytes(image) : null;
    }
}
