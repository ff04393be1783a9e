namespace Lincow;

/// <summary>What a commit did.</summary>
/// <param name="Overlay">The overlay.</param>
/// <param name="Origin">What was written to.</param>
/// <param name="Chunks">Chunks that were written back.</param>
/// <param name="Bytes">Bytes that were written back, zeroes among them.</param>
public sealed record CommitReport(string Overlay, string Origin, long Chunks, long Bytes);
