using Spectre.Console;

namespace Lincow.Cli;

/// <summary>Bars on standard error while something takes its time, if that is a terminal.</summary>
internal static class ProgressBars
{
    /// <summary>Runs the work, which says how far it is if there is anybody to tell.</summary>
    public static T Run<T>(bool quiet, Func<IProgress<OperationProgress>?, T> work)
    {
        if (quiet || Console.IsErrorRedirected)
            return work(null);
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        return console.Progress().AutoClear(true).Start(context =>
        {
            return work(new Bars(context));
        });
    }

    /// <summary>A bar for each stage.</summary>
    private sealed class Bars(ProgressContext context) : IProgress<OperationProgress>
    {
        private readonly Dictionary<string, ProgressTask> _tasks = [];

        public void Report(OperationProgress progress)
        {
            if (!_tasks.TryGetValue(progress.Stage, out var task))
                _tasks[progress.Stage] = task = context.AddTask(progress.Stage, maxValue: 1);
            task.Value = progress.Fraction;
        }
    }
}
