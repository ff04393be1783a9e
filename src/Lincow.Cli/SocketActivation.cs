using System.Globalization;

namespace Lincow.Cli;

/// <summary>
/// Sockets on which whoever started this process listens already, and which it was started with (sd_listen_fds(3)): systemd's socket units,
/// systemd-socket-activate, and programs that do the same.
/// </summary>
internal static class SocketActivation
{
    private const string Process = "LISTEN_PID", Count = "LISTEN_FDS", Names = "LISTEN_FDNAMES";

    /// <summary>How many there are: descriptors from <see cref="Background.FirstDescriptor"/> on.</summary>
    /// <param name="processId">Whom they are meant for.</param>
    public static int CountFor(int processId)
    {
        // Somebody else's, inherited by a mistake.
        // mutation: sockets-of-somebody-else
        if (Number(Process) != processId)
            return 0;
        return Number(Count) is >= 0 and <= 1024 and var count ? count
            : throw new CommandException($"{Count}={Environment.GetEnvironmentVariable(Count)}: is not a number of sockets");
    }

    /// <summary>Takes them, and has nobody whom this process starts find them.</summary>
    public static List<int> Take(int processId)
    {
        var descriptors = Enumerable.Range(Background.FirstDescriptor, CountFor(processId)).ToList();
        foreach (var name in new[] { Process, Count, Names })
            Environment.SetEnvironmentVariable(name, null);
        return descriptors;
    }

    private static int Number(string name) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? number : -1;
}
