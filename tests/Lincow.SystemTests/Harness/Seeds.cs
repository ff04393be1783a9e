using System.Globalization;

namespace Lincow.SystemTests.Harness;

/// <summary>Seeds of random tests: fixed, unless LINCOW_SEED names one; a failure says which it was.</summary>
internal static class Seeds
{
    public static int Pick(int usual) =>
        Environment.GetEnvironmentVariable("LINCOW_SEED") is { Length: > 0 } named ? int.Parse(named, CultureInfo.InvariantCulture) : usual;
}
