using Lincow.Linux;
using Lincow.Overlays;
using Lincow.Tests.Linear;
using Lincow.Tests.Simulation;
using Lincow.Tests.Snapshot;

namespace Lincow.Tests.Engine;

/// <summary>An overlay over an origin on a simulated machine, with something in it.</summary>
internal abstract class CommitLife
{
    /// <summary>What the device reads, and the origin in the end.</summary>
    public byte[] Expected { get; protected set; } = [];

    public required SimulatedMachine Machine { get; init; }

    public required SimulatedDisk Origin { get; init; }

    public abstract void Commit();

    /// <summary>What the device reads now; fails where it would be refused.</summary>
    public abstract byte[] Show();

    public abstract void AssertEmpty();
}

public class CommitTests
{
    private const int Seeds = 700;

    [Theory]
    [InlineData(StoreKind.Linear)]
    [InlineData(StoreKind.Snapshot)]
    public void However_often_a_commit_is_cut_off_the_device_reads_the_same_and_in_the_end_the_origin_does(StoreKind kind)
    {
        var single = Environment.GetEnvironmentVariable("LINCOW_SEED");
        var (first, end) = single is null ? (1UL, Seeds + 1UL) : (ulong.Parse(single), ulong.Parse(single) + 1);
        long cuts = 0;
        for (var seed = first; seed < end; seed++)
        {
            try
            {
                cuts += Play(kind, seed);
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"seed {seed} (replay with LINCOW_SEED={seed}): {e.Message}", e);
            }
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{cuts} cuts");
        Assert.True(single is not null || cuts > Seeds, $"only {cuts} cuts");
    }

    private static int Play(StoreKind kind, ulong seed)
    {
        var random = new SimulationRandom(seed, 1);
        var machine = new SimulatedMachine(new SimulationCoverage()) { Random = new SimulationRandom(seed, 2) };
        CommitLife life = kind == StoreKind.Linear ? LinearCommitLife.Make(machine, ref random) : SnapshotCommitLife.Make(machine, ref random);
        var cuts = 0;
        while (true)
        {
            machine.Boot();
            machine.Arm(random.OneIn(5) ? 0 : random.Next(1, random.OneIn(2) ? 40 : 300));
            try
            {
                life.Commit();
                machine.Arm(0);
                break;
            }
            catch (Exception e) when (machine.IsOff && e is LinuxException or LincowException)
            {
                cuts++;
                machine.Boot();
                Assert.True(life.Show().AsSpan().SequenceEqual(life.Expected), $"after {cuts} cuts the device shows something else");
            }
        }
        // The power goes once more: what the commit said is done stays done.
        machine.Cut(SimulationSite.Result);
        machine.Boot();
        var content = new byte[life.Expected.Length];
        life.Origin.Read(0, content);
        Assert.True(content.AsSpan().SequenceEqual(life.Expected), "the origin is not what the device was");
        life.AssertEmpty();
        return cuts;
    }
}
