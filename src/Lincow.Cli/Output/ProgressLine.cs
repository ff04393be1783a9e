using System.Diagnostics;

namespace Lincow.Cli.Output;

/// <summary>
/// A line on standard error that says how far something is which takes its time, if that is a terminal. It is written over itself and
/// wiped away at the end. Nothing of the terminal's state changes, so there is nothing to undo after a signal.
/// </summary>
internal sealed class ProgressLine : IProgress<OperationProgress>, IDisposable
{
    private const int BarColumns = 40, MillisecondsBetween = 100;
    private const string ToStart = "\r", WipeToEnd = "\e[K";

    private readonly Lock _gate = new();
    private readonly Stopwatch _sinceShown = new();
    private string? _stage;

    private ProgressLine()
    {
    }

    /// <summary>Runs the work, which says how far it is if there is anybody to tell.</summary>
    public static T Run<T>(bool quiet, Func<IProgress<OperationProgress>?, T> work)
    {
        if (quiet || Console.IsErrorRedirected)
            return work(null);
        using var line = new ProgressLine();
        return work(line);
    }

    public void Report(OperationProgress progress)
    {
        lock (_gate)
        {
            if (progress.Stage == _stage && _sinceShown.ElapsedMilliseconds < MillisecondsBetween)
                return;
            _stage = progress.Stage;
            _sinceShown.Restart();
            var filled = (int)(Math.Clamp(progress.Fraction, 0, 1) * BarColumns);
            Console.Error.Write($"{ToStart}{progress.Stage} [{new string('#', filled)}{new string('.', BarColumns - filled)}] "
                + $"{(int)(progress.Fraction * 100)} %{WipeToEnd}");
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            if (_stage is not null)
                Console.Error.Write(ToStart + WipeToEnd);
        }
    }
}
