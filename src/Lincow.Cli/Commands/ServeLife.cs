using System.CommandLine;
using Lincow.Linux;
using Lincow.Serving.Hosting;

namespace Lincow.Cli.Commands;

/// <summary>
/// How a server lives: in the foreground or not, for whom, who is told that it is ready, and who asks it to end. What it serves is not its
/// business.
/// </summary>
internal sealed class ServeLife
{
    private readonly Option<bool> _fork = new("--fork")
    {
        Description = "Go into the background, and return once clients can connect"
    };
    private readonly Option<string?> _pidFile = new("--pid-file")
    {
        Description = "Write the server's process number there when it is ready; taken away at its end",
        HelpName = "PATH"
    };
    private readonly Option<bool> _exitWithParent = new("--exit-with-parent")
    {
        Description = "End, as by SIGTERM, when the process that started this one has ended"
    };
    private readonly Option<bool> _detached = new(Background.Detached) { Hidden = true };
    private readonly Option<string?> _parent = new("--parent") { Hidden = true };

    public void AddTo(Command command)
    {
        foreach (var option in new Option[] { _fork, _pidFile, _exitWithParent, _detached, _parent })
            command.Add(option);
    }

    /// <summary>The exit status of a command that has left a server in the background; null for that server, and one that stays.</summary>
    /// <param name="result">What was typed, as it was parsed.</param>
    /// <param name="arguments">What was typed.</param>
    public int? Fork(ParseResult result, string[] arguments)
    {
        if (result.GetValue(_detached))
        {
            LinuxProcess.LeaveSession();
            return null;
        }
        if (!result.GetValue(_fork))
            return null;
        // The process whose end it ends with is the one that started this one, which ends at once.
        string[] more = result.GetValue(_exitWithParent) ? ["--parent", ParentWatch.OfThis().ToString()] : [];
        return Background.Start(arguments, more, SocketActivation.CountFor(Environment.ProcessId), ServiceManager.SayReady);
    }

    /// <summary>The sockets that the process was started with.</summary>
    // Those of who was started in the background were meant for the one that started it.
    public List<int> Sockets(ParseResult result) =>
        SocketActivation.Take(result.GetValue(_detached) ? LinuxProcess.ParentId : Environment.ProcessId);

    /// <summary>Serves until somebody asks it to end; then stops the host, and tells who asked how that went.</summary>
    /// <param name="result">What was typed.</param>
    /// <param name="host">The host.</param>
    /// <param name="serve">Begins to serve; returns what to say about it.</param>
    public void Run(ParseResult result, Host host, Func<IEnumerable<string>> serve)
    {
        var isDetached = result.GetValue(_detached);
        var parent = !result.GetValue(_exitWithParent) ? null
            : result.GetValue(_parent) is { } given ? ParentWatch.Parse(given) : ParentWatch.OfThis();
        using var end = new ManualResetEventSlim();
        using var signals = Signals.Take(end.Set, hangUpEnds: !isDetached);
        Log.Begin();
        var asking = new Asking(end.Set);
        host.OnStop = asking.Add;
        PidFile? pidFile = null;
        try
        {
            var lines = serve();
            parent?.Begin(end.Set);
            pidFile = result.GetValue(_pidFile) is { } path ? PidFile.Write(path) : null;
            SayReady(lines, host, isDetached);
            var collections = CollectionReport.Begin(host);
            end.Wait();
            collections?.Write();
            ServiceManager.SayStopping();
        }
        finally
        {
            try
            {
                host.Stop(asking.Answer).GetAwaiter().GetResult();
            }
            finally
            {
                pidFile?.Dispose();
            }
        }
    }

    private static void SayReady(IEnumerable<string> lines, Host host, bool isDetached)
    {
        if (isDetached)
        {
            // systemd is told by the process that it has started, and that waits for these lines.
            Background.SayReady(lines, host.RedirectToLog);
            return;
        }
        foreach (var line in lines)
            Console.Out.WriteLine(line);
        Console.Out.Flush();
        ServiceManager.SayReady();
    }

    /// <summary>Those who have asked it to end, by <c>lincow stop</c>.</summary>
    private sealed class Asking(Action end)
    {
        private readonly List<Action<LincowError?>> _replies = [];

        public void Add(Action<LincowError?> reply)
        {
            lock (_replies)
                _replies.Add(reply);
            end();
        }

        public void Answer(LincowError? failure)
        {
            lock (_replies)
                _replies.ForEach(reply => reply(failure));
        }
    }
}
