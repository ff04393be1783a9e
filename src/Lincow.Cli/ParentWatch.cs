using System.Globalization;
using Lincow.Linux;

namespace Lincow.Cli;

/// <summary>
/// A process whose end is the end of this one. The kernel's own signal for it (PR_SET_PDEATHSIG) comes when the <em>thread</em> ends that
/// started the process, which in many programs is long before the program does; so the process itself is watched.
/// </summary>
/// <param name="ProcessId">Its number.</param>
/// <param name="StartTime">When it was started: a number alone comes round again.</param>
internal sealed record ParentWatch(int ProcessId, long StartTime)
{
    /// <summary>The process that started this one.</summary>
    public static ParentWatch OfThis() => LinuxProcess.ParentId is > 0 and var parent && LinuxProcess.StartTime(parent) is { } startTime
        ? new ParentWatch(parent, startTime)
        : throw new CommandException("--exit-with-parent: the process that started lincow can't be seen from here, as in a container of "
            + "its own. Leave it out");

    /// <summary>As <see cref="ToString"/> writes it.</summary>
    public static ParentWatch Parse(string text)
    {
        var parts = text.Split('-');
        return new ParentWatch(int.Parse(parts[0], CultureInfo.InvariantCulture), long.Parse(parts[1], CultureInfo.InvariantCulture));
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{ProcessId}-{StartTime}");

    /// <summary>Calls back, on a thread of its own, when that process has ended; at once if it has already.</summary>
    public void Begin(Action ended) => new Thread(() =>
    {
        LinuxProcess.AwaitEnd(ProcessId, StartTime);
        ended();
    })
    { IsBackground = true, Name = "lincow-parent" }.Start();
}
