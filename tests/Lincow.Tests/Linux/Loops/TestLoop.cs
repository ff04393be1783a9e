using Lincow.Linux;

namespace Lincow.Tests.Linux.Loops;

/// <summary>Loops by the name that theories give them: "posix", else io_uring.</summary>
internal static class TestLoop
{
    public static IoLoop Make(string name) => name == "posix" ? new PosixLoop() : new UringLoop();

    /// <summary>A thread that runs a loop until it is stopped, and disposes it then.</summary>
    public static (Thread Thread, IoLoop Loop) Start(string name)
    {
        using var made = new ManualResetEventSlim();
        IoLoop? running = null;
        var thread = new Thread(() =>
        {
            running = Make(name);
            made.Set();
            running.Run();
            running.Dispose();
        });
        thread.Start();
        made.Wait();
        return (thread, running!);
    }
}
