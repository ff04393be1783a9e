using Lincow.Cli.Output;
using Lincow.Linux;
using Lincow.Serving.Control;

namespace Lincow.Cli.Commands;

/// <summary>Asks a server to end, over its control socket, and waits until its process is gone.</summary>
internal static class ServerExit
{
    /// <summary>For the last flush, which may be gigabytes on a slow disk.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(10);

    private static readonly TimeSpan ExitPatience = TimeSpan.FromSeconds(10);

    /// <summary>What went wrong, as a sentence; null when all is well.</summary>
    /// <param name="server">The server.</param>
    /// <param name="request">What is asked of it.</param>
    /// <param name="name">What it is called in the sentence.</param>
    /// <param name="ends">Whether its process ends by that.</param>
    /// <param name="done">What has happened to it then: "is detached".</param>
    public static string? Ask(ServingRecord server, ControlRequest request, string name, bool ends, string done)
    {
        // One that stands still answers nothing, and would be waited for as if it flushed.
        var reply = ControlClient.Ask(server, new ControlRequest(ControlRequest.Status), Servers.Patience) is null ? null
            : ControlClient.Ask(server, request, TimeSpan.FromSeconds(request.WaitSeconds) + Patience);
        // Somebody else may have ended it first: then it says no more.
        if (reply is null && !(ends && IsGone(server, ExitPatience)))
            return $"{name}: {server.Process} serves it and doesn't answer";
        if (reply?.Error is not null)
            return ReplyText.Of(reply) is { } text && text.Contains(name, StringComparison.Ordinal) ? text
                : $"{name}: {ReplyText.Of(reply)}";
        return !ends || IsGone(server, ExitPatience) ? null
            : $"{name}: {done}, but {server.Process} doesn't end";
    }

    private static bool IsGone(ServingRecord server, TimeSpan patience)
    {
        var end = DateTime.UtcNow + patience;
        // Its lock goes a moment before the process does.
        while (RunDirectory.IsAlive(server)
            || (server.IsOfThisNamespace && LinuxProcess.StartTime(server.Pid) == server.StartTime))
        {
            if (DateTime.UtcNow > end)
                return false;
            Thread.Sleep(1);
        }
        return true;
    }
}
