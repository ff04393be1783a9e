using Spectre.Console;

namespace Lincow.Cli;

/// <summary>Bars on standard error while something takes its time, if that is a terminal.</summary>
internal static class ProgressBars
{
    /// <summary>Runs the work; it says what it is doing and the fraction of it that is done, from 0 to 1, if there is anybody to tell.</summary>
    public static T Run<T>(bool quiet, Func<Action<string, double>?, T> work)
    {
        if (quiet || Console.IsErrorRedirected)
            return work(null);
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        return console.Progress().AutoClear(true).Start(context =>
        {
            var tasks = new Dictionary<string, ProgressTask>();
            return work((what, fraction) =>
            {
                if (!tasks.TryGetValue(what, out var task))
                    tasks[what] = task = context.AddTask(what, maxValue: 1);
                task.Value = fraction;
            });
        });
    }
}
