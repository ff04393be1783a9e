using System.Text.Json;
using System.Text.RegularExpressions;

namespace Lincow.SystemTests.Harness;

/// <summary>The built binary, as a user or a script runs it.</summary>
internal static partial class Cli
{
    public const int Failed = 1, WrongUsage = 2, DamageFound = 3;

    private static readonly Lazy<string> Found = new(FindBinary);

    /// <summary>$LINCOW_BINARY, else what ./lincow built.</summary>
    public static string Binary => Found.Value;

    public static ToolResult Run(params string[] arguments) => Tool.Run(Binary, arguments);

    /// <summary>Exit status 0 and no complaint; returns standard output.</summary>
    public static string Ok(params string[] arguments) => Ok([], arguments);

    /// <summary>The same with variables of the environment.</summary>
    public static string Ok(Dictionary<string, string> environment, params string[] arguments)
    {
        var result = Tool.Run(Binary, arguments, environment);
        Assert.True(result.ExitCode == 0, result.ToString());
        Assert.DoesNotContain("lincow: error:", result.Errors);
        return result.Output;
    }

    /// <summary>Exit status 1 with one line of error, which is returned.</summary>
    public static string Fails(params string[] arguments) => Error(Run(arguments), Failed);

    /// <summary>Exit status 2 with one line of error, which is returned.</summary>
    public static string Misused(params string[] arguments) => Error(Run(arguments), WrongUsage);

    /// <summary>The promise of every failure: the status, exactly one line of error, never a stack trace. Returns the line.</summary>
    public static string Error(ToolResult result, int exitCode)
    {
        Assert.True(result.ExitCode == exitCode, $"exit status {exitCode} expected\n{result}");
        AssertNoStackTrace(result.Output + result.Errors);
        var lines = result.Errors.Split('\n').Where(line => line.StartsWith("lincow: error:", StringComparison.Ordinal)).ToList();
        Assert.True(lines.Count == 1, $"one line of error expected\n{result}");
        return lines[0]["lincow: error:".Length..].Trim();
    }

    public static void AssertNoStackTrace(string text) => Assert.DoesNotMatch(StackTrace(), text);

    public static OverlayFacts Info(string overlay, params string[] more) =>
        JsonSerializer.Deserialize<OverlayFacts>(Ok(["info", overlay, "--json", .. more]), JsonSerializerOptions.Web)!;

    public static List<MappedRange> Map(string overlay, params string[] more) =>
        JsonSerializer.Deserialize<List<MappedRange>>(Ok(["map", overlay, "--json", .. more]), JsonSerializerOptions.Web)!;

    public static CheckFacts Check(string overlay, int exitCode = 0, params string[] more)
    {
        var result = Run(["check", overlay, "--json", .. more]);
        Assert.True(result.ExitCode == exitCode, $"exit status {exitCode} expected\n{result}");
        return JsonSerializer.Deserialize<CheckFacts>(result.Output, JsonSerializerOptions.Web)!;
    }

    private static string FindBinary()
    {
        if (Environment.GetEnvironmentVariable("LINCOW_BINARY") is { Length: > 0 } named)
            return named;
        var binary = InRepository("artifacts/lincow");
        return File.Exists(binary) ? binary : throw new FileNotFoundException($"{binary} is not there: './lincow --version' builds it");
    }

    /// <summary>A file of the repository that the tests were built from.</summary>
    public static string InRepository(string path)
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            if (File.Exists(Path.Combine(directory.FullName, "lincow.slnx")))
                return Path.Combine(directory.FullName, path);
        }
        throw new FileNotFoundException("the tests run outside of the repository: set LINCOW_BINARY");
    }

    [GeneratedRegex(@"^   at ", RegexOptions.Multiline)]
    private static partial Regex StackTrace();
}

/// <summary><c>info --json</c>, the fields that cli.md promises.</summary>
internal sealed record OverlayFacts(string Overlay, string Uuid, OriginFacts Origin, long Size, long ChunkSize, string Store, string Layout,
    string Mode,
    string DataPath, long DataOffset, string MapPath, long MapOffset, long MapBytes, ChunkFacts Chunks, long? AllocatedBytes,
        ulong Generation, bool Clean,
    string? Parent, List<string> Layers, string? DmStatus);

internal sealed record OriginFacts(string Uri, long Size, bool Present);

internal sealed record ChunkFacts(long Total, long Data, long Zero, long Origin);

/// <summary>An element of <c>map --json</c>.</summary>
internal sealed record MappedRange(long Start, long Length, int Depth, bool Present, bool Zero, bool Data, long? Offset, string? Filename);

/// <summary><c>check --json</c>.</summary>
internal sealed record CheckFacts(bool Clean, long PagesChecked, long StaleBytes, List<FindingFacts> Findings);

internal sealed record FindingFacts(string Problem, string File, long Offset, long DeviceStart, long DeviceEnd, bool Repairable,
    bool Repaired);
