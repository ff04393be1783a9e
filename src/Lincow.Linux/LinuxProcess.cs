namespace Lincow.Linux;

/// <summary>Signals to child processes: .NET's own Process can only kill.</summary>
public static class LinuxProcess
{
    private const int SigTerm = 15;

    /// <summary>Sends SIGTERM; nothing happens when the process is gone already.</summary>
    public static void Terminate(int processId) => _ = Libc.kill(processId, SigTerm);
}
