using System.Globalization;

namespace Lincow.Bench.Running;

/// <summary>Who else used the machine. Figures of a busy or a shared machine are not wrong, but nobody else will get them.</summary>
internal sealed class Disturbance
{
    private const double BusyLoad = 0.5, NoticeableSteal = 0.01;

    private readonly double _load;
    private readonly (double Steal, double Total) _start = ReadTimes();

    public Disturbance() => _load = double.Parse(File.ReadAllText("/proc/loadavg").Split(' ')[0], CultureInfo.InvariantCulture);

    /// <summary>Sentences for the report, about the time since this object was made.</summary>
    public IEnumerable<string> Notes()
    {
        if (_load > BusyLoad)
            yield return string.Create(CultureInfo.InvariantCulture,
                $"the machine was not idle when the run began (load {_load:0.0}): repeat it on one that is");
        var end = ReadTimes();
        var steal = (end.Steal - _start.Steal) / Math.Max(1, end.Total - _start.Total);
        if (steal > NoticeableSteal)
            yield return string.Create(CultureInfo.InvariantCulture,
                $"the hypervisor gave {steal:0.0 %} of the processors' time to others meanwhile");
    }

    /// <summary>Ticks since boot of all processors: user, nice, system, idle, iowait, irq, softirq, steal.</summary>
    private static (double Steal, double Total) ReadTimes()
    {
        var times = File.ReadLines("/proc/stat").First().Split(' ', StringSplitOptions.RemoveEmptyEntries).Skip(1).Take(8)
            .Select(ticks => double.Parse(ticks, CultureInfo.InvariantCulture)).ToArray();
        return (times[7], times.Sum());
    }
}
