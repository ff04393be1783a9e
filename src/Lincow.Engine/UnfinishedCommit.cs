namespace Lincow;

/// <summary>
/// What is said of overlays whose commit was begun and isn't complete. Their origin holds a part of what they held, and nothing but both
/// together is the device. They are served as ever, and the commit is run again.
/// </summary>
internal static class UnfinishedCommit
{
    internal const string Unfinished =
        "its commit was cut off, so the origin is half old, half new, and whole only together with what the overlay still holds";

    /// <summary>What is the matter, and what to do about it. Goes after the overlay's path.</summary>
    public const string Sentence = Unfinished + ". Run 'lincow commit' again to complete it";

    /// <summary>As <see cref="Sentence"/>, for who wants to do without what the overlay holds.</summary>
    internal const string RefusalSentence = Sentence + "; 'lincow reset --force' throws the rest away and leaves the origin as it is";

    internal static LincowException Refusal(string overlay) => new($"{overlay}: {RefusalSentence}");
}
