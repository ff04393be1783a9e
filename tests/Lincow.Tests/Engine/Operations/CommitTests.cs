using Lincow.Linux;
using Lincow.Operations;
using Lincow.Tests.Simulation;

namespace Lincow.Tests.Engine.Operations;

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

    /// <summary>The overlay says that a commit was begun and isn't complete.</summary>
    public abstract bool IsUnfinished { get; }

    /// <summary>Takes the overlay back to its origin.</summary>
    public abstract void Reset(bool force);
}

public class CommitTests
{
    private const int Seeds = 700;

    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    public void However_often_a_commit_is_cut_off_the_device_reads_the_same_and_in_the_end_the_origin_does(string kind)
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

    private static byte[] Content(SimulatedDisk disk)
    {
        var content = new byte[disk.Length];
        disk.Read(0, content);
        return content;
    }

    private static int Play(string kind, ulong seed)
    {
        var random = new SimulationRandom(seed, 1);
        var machine = new SimulatedMachine(new SimulationCoverage()) { Random = new SimulationRandom(seed, 2) };
        CommitLife life = kind == "linear"
            ? LinearCommitLife.Make(machine, ref random) : SnapshotCommitLife.Make(machine, ref random);
        var (cuts, before) = (0, Content(life.Origin));
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
                var origin = Content(life.Origin);
                Assert.True(life.IsUnfinished || origin.AsSpan().SequenceEqual(before)
                    || origin.AsSpan().SequenceEqual(life.Expected),
                    $"after {cuts} cuts the origin has changed, and the overlay doesn't say so");
                if (!life.IsUnfinished || !random.OneIn(2))
                    continue;
                Assert.Equal(LincowErrorCode.CommitUnfinished, Assert.Throws<LincowException>(() => life.Reset(force: false)).Error.Code);
                if (!random.OneIn(50))
                    continue;
                // Given up: the device is what the origin is by now, and that is all right from here on.
                life.Reset(force: true);
                Assert.False(life.IsUnfinished, "what was given up says that it is unfinished");
                life.Expected.AsSpan().Clear();
                origin.CopyTo(life.Expected, 0);
                before = origin;
                Assert.True(life.Show().AsSpan().SequenceEqual(life.Expected), "what was given up shows something else than the origin");
            }
        }
        // The power goes once more: what the commit said is done stays done.
        machine.Cut(SimulationSite.Result);
        machine.Boot();
        Assert.True(Content(life.Origin).AsSpan().SequenceEqual(life.Expected), "the origin is not what the device was");
        life.AssertEmpty();
        Assert.False(life.IsUnfinished, "what is complete says that it isn't");
        return cuts;
    }
}
