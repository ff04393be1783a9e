namespace Lincow;

/// <summary>
/// A failure that the user can do something about. The message is one sentence or two: what was wrong with which file, and what to do. The
/// command line prints it as it stands.
/// </summary>
public sealed class LincowException : Exception
{
    internal LincowException(string message)
        : base(message)
    {
    }

    /// <summary>The files are damaged, rather than wrongly named or used: what <c>check</c> looks for.</summary>
    public bool IsDamage { get; init; }

    /// <summary>Another process holds the overlay: one that serves it, perhaps, and can be asked.</summary>
    public bool IsInUse { get; init; }

    internal LincowException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
