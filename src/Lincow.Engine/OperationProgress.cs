namespace Lincow;

/// <summary>How far an operation is.</summary>
/// <param name="Stage">What is being done, for people: "map pages", "chunks", "copying", "reading back".</param>
/// <param name="Fraction">How much of that is done, from 0 to 1.</param>
public readonly record struct OperationProgress(string Stage, double Fraction);
