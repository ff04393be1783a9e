namespace Lincow;

/// <summary>
/// A failure that the caller can do something about. What failed is data: <see cref="Error"/>. The message is that error's neutral
/// sentence.
/// </summary>
public sealed class LincowException : Exception
{
    /// <summary>Throws an error, with what caused it if that was an exception.</summary>
    internal LincowException(LincowError error, Exception? inner = null)
        : base(error.Message, inner) => Error = error;

    /// <summary>What failed.</summary>
    public LincowError Error { get; }
}
