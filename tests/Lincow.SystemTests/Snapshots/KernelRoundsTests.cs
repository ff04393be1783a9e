using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Snapshots;

/// <summary>
/// lincow and the dm-snapshot target of Debian 13's kernel take turns at one store in a guest (tests/guest/snapshot-rounds.py, which says
/// what is compared): each reads what the other wrote, goes on where it ended, and counts alike.
/// </summary>
public class KernelRoundsTests
{
    private const int OriginSectors = (8 << 11) + 5;

    [Fact]
    public void A_store_goes_back_and_forth_between_lincow_and_the_kernel()
    {
        string[] parts = ["full", "left-over", "8", "128"];
        var seed = Seeds.Pick(23);
        using var scratch = new Scratch();
        // The last chunk is short.
        var origin = scratch.Random("origin.img", OriginSectors * 512);
        var said = Guest.Run(scratch, "snapshot-rounds.py",
            $"/usr/bin/python3 /tmp/snapshot-rounds.py /tmp/lincow {seed} {string.Join(' ', parts)}",
            origin, scratch.Sparse("store.img", 12 << 20), scratch.Sparse("small.img", 1 << 20));
        Assert.Equal(parts.Length, said.Split('\n').Count(line => line.StartsWith("done ", StringComparison.Ordinal)));
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}\n{said}");
    }
}
