using System.Runtime.InteropServices;

namespace Lincow.Bench.Running;

/// <summary>The few calls that .NET has no name for.</summary>
internal static partial class Posix
{
    public const int SigTerm = 15;

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    public static partial int Kill(int process, int signal);

    /// <summary>
    /// Sleeps for microseconds; Thread.Sleep knows milliseconds only, which is too coarse next to a start-up of a few of them.
    /// </summary>
    [LibraryImport("libc", EntryPoint = "usleep")]
    public static partial int SleepMicroseconds(uint microseconds);

    [LibraryImport("libc", EntryPoint = "sysconf")]
    private static partial long Sysconf(int name);

    /// <summary>The unit of CPU times in /proc/PID/stat.</summary>
    public static double TicksPerSecond { get; } = Sysconf(ClockTicks);

    private const int ClockTicks = 2;
}
