using System.Text.Json.Serialization.Metadata;
using Lincow.Cli.Output;

namespace Lincow.Cli;

/// <summary>
/// The same for several overlays: what fails for one doesn't keep the others from being done. What failed is said in one line at the end.
/// </summary>
internal sealed class Several
{
    private readonly List<string> _failures = [];

    /// <summary>Whether one of them is so damaged that it can't be opened.</summary>
    public bool IsDamageAmong { get; private set; }

    /// <summary>The overlays that were named; what belongs to one can't be said of several.</summary>
    public static string[] Of(string[] overlays, string? map, string? origin = null) =>
        overlays.Length > 1 && (map is not null || origin is not null)
            ? throw new UsageException((map is not null ? "--map" : "--origin") + " goes with one OVERLAY at a time") : overlays;

    /// <summary>One document: the report on one overlay, an array if several were named.</summary>
    public static void WriteJson<T>(List<T> reports, int overlayCount, JsonTypeInfo<T> one, JsonTypeInfo<List<T>> several)
    {
        if (overlayCount > 1)
            Json.Write(reports, several);
        else if (reports.Count > 0)
            Json.Write(reports[0], one);
    }

    /// <summary>Does something for each.</summary>
    public static Several Run(IEnumerable<string> overlays, Action<string> work)
    {
        var several = new Several();
        foreach (var overlay in overlays)
        {
            try
            {
                work(overlay);
            }
            catch (Exception e) when (CommandRunner.IsFailure(e))
            {
                several.Add(e);
            }
        }
        return several;
    }

    /// <summary>Says what failed; returns the exit status.</summary>
    /// <param name="status">The exit status, if something worse was found than a failure.</param>
    public int End(int? status = null)
    {
        if (_failures.Count > 0)
            CommandRunner.Error(string.Join("; ", _failures));
        return status ?? (_failures.Count > 0 ? CommandRunner.Failed : 0);
    }

    private void Add(Exception exception)
    {
        _failures.Add(ErrorText.Of(exception));
        IsDamageAmong |= exception is LincowException { Error.Kind: LincowErrorKind.Damaged };
    }
}
