using System.Text;

namespace Lincow.Tests.Simulation;

/// <summary>What the runs of a simulation have met: on which step of what the power cuts fell.</summary>
internal sealed class SimulationCoverage
{
    private static readonly SimulationPhase[] Phases = Enum.GetValues<SimulationPhase>();
    private static readonly SimulationSite[] Sites = Enum.GetValues<SimulationSite>();
    private readonly long[,] _cuts = new long[Phases.Length, Sites.Length];

    public long Seeds { get; set; }

    public long Kills { get; set; }

    public long Faults { get; set; }

    public long Requests { get; set; }

    /// <summary>Times in which every call was asked to be made again, for longer than it is tried at once.</summary>
    public long Refusals { get; set; }

    /// <summary>Reads of an origin that were answered in a later turn.</summary>
    public long LateAnswers { get; set; }

    /// <summary>Those among them that nobody waited for any more.</summary>
    public long AnswersAfterClose { get; set; }

    public long FailedDevices { get; set; }

    /// <summary>Flushes that failed on a device that went on.</summary>
    public long FailedFlushes { get; set; }

    public long Verified { get; set; }

    public void Hit(SimulationPhase phase, SimulationSite site) => _cuts[(int)phase, (int)site]++;

    public long Cuts(SimulationPhase phase, SimulationSite site) => _cuts[(int)phase, (int)site];

    public void Add(SimulationCoverage other)
    {
        foreach (var phase in Phases)
        {
            foreach (var site in Sites)
                _cuts[(int)phase, (int)site] += other._cuts[(int)phase, (int)site];
        }
        Seeds += other.Seeds;
        Kills += other.Kills;
        Faults += other.Faults;
        Requests += other.Requests;
        Refusals += other.Refusals;
        LateAnswers += other.LateAnswers;
        AnswersAfterClose += other.AnswersAfterClose;
        FailedDevices += other.FailedDevices;
        FailedFlushes += other.FailedFlushes;
        Verified += other.Verified;
    }

    public override string ToString()
    {
        var text = new StringBuilder("power cuts by what they prevented\n");
        text.Append($"{"",16}");
        foreach (var phase in Phases)
            text.Append($"{phase,9}");
        long total = 0;
        foreach (var site in Sites)
        {
            text.Append($"\n{site,-16}");
            foreach (var phase in Phases)
            {
                var count = Cuts(phase, site);
                total += site == SimulationSite.Reply ? 0 : count;
                text.Append(count == 0 ? $"{".",9}" : $"{count,9}");
            }
        }
        return text.Append($"\n{Seeds} seeds, {total} power cuts, {Kills} kills, {Requests} requests, {Faults} faults, {FailedDevices} "
            + $"failed devices, {FailedFlushes} failed flushes, {Verified} whole devices compared, "
            + $"{Refusals} times of refusals, {LateAnswers} late answers of origins, "
            + $"{AnswersAfterClose} of them after the close").ToString();
    }
}
