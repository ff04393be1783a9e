using System.Text.RegularExpressions;

namespace Lincow.Tests.House;

/// <summary>The rules of the house that a machine can hold (docs/architecture.md).</summary>
public partial class HouseTests
{
    internal static readonly string Root = FindRoot();

    private static IEnumerable<string> Sources => Directory.EnumerateFiles(Path.Combine(Root, "src"), "*.cs", SearchOption.AllDirectories)
        .Concat(Directory.EnumerateFiles(Path.Combine(Root, "tests"), "*.cs", SearchOption.AllDirectories))
        .Where(path => !path.Contains("/obj/", StringComparison.Ordinal) && !path.Contains("/bin/", StringComparison.Ordinal));

    [Fact]
    public void Dependencies_point_one_way()
    {
        string[] order = ["Lincow.Linux", "Lincow.Engine", "Lincow.Serving", "Lincow.Cli"];
        foreach (var project in order)
        {
            var text = File.ReadAllText(Path.Combine(Root, "src", project, project + ".csproj"));
            var references = ProjectReference().Matches(text).Select(match => match.Groups[1].Value);
            Assert.All(references, reference =>
                Assert.True(Array.IndexOf(order, reference) < Array.IndexOf(order, project), $"{project} must not know {reference}"));
        }
    }

    [Fact]
    public void There_are_at_most_twelve_projects() =>
        Assert.InRange(Directory.EnumerateFiles(Root, "*.csproj", SearchOption.AllDirectories).Count(), 1, 12);

    [Fact]
    public void Files_stay_under_500_lines() =>
        Assert.All(Sources, path => Assert.True(File.ReadLines(path).Count() <= 500, $"{path} is too long: split it by idea"));

    [Fact]
    public void Lines_end_at_140_columns()
    {
        var files = new[] { "src", "tests", "benchmarks", "samples" }
            .SelectMany(room => Directory.EnumerateFiles(Path.Combine(Root, room), "*.cs", SearchOption.AllDirectories))
            .Where(path => !path.Contains("/obj/", StringComparison.Ordinal) && !path.Contains("/bin/", StringComparison.Ordinal));
        Assert.Empty(files.SelectMany(path => File.ReadLines(path).Select((line, index) => (line.Length, $"{path}:{index + 1}")))
            .Where(line => line.Length > 140).Select(line => line.Item2));
    }

    /// <summary>Rooms of the data path, what may not be in them, and the word to use instead.</summary>
    public static TheoryData<string, string, string> Bans => new()
    {
        { "Lincow.Engine/Requests", @"\basync\b|\bawait\b", "a completion" },
        { "Lincow.Engine/Device", @"\basync\b|\bawait\b", "a completion" },
        { "Lincow.Engine/Layers", @"\basync\b|\bawait\b", "a completion" },
        { "Lincow.Engine/Stores/Linear", @"\basync\b|\bawait\b", "a completion" },
        { "Lincow.Engine/Device", @"using System\.Linq|\.Select\(|\.Where\(", "a loop" },
        { "Lincow.Engine/Layers", @"using System\.Linq|\.Select\(|\.Where\(", "a loop" },
        { "Lincow.Engine", @"\block\s*\(", "one loop that owns the device" },
        { "Lincow.Engine", @"FlushToDisk|Flush\(true\)|Flush\(flushToDisk", "LinuxFile.Sync, which reports its errors" },
        { "Lincow.Engine", @"System\.Net\.|Console\.", "Serving or Cli" },
        { "Lincow.Engine", @"Path\.GetFullPath\(\w+\)", "LinuxPath.Full, which refuses what is no text" },
        { "Lincow.Serving", @"Path\.GetFullPath\(", "LinuxPath.Full, which refuses what is no text" },
        { "Lincow.Cli", @"Path\.GetFullPath\(", "LinuxPath.Full, which refuses what is no text" },
        // They bring a comparer for every type of a list into the program, and each start of it pays for them.
        { "", @"\.Order(By|Descending)?(Descending)?\(|SortedDictionary|SortedList|Sort\([^;]*Comparer", "Sort with a Comparison" },
        { "Lincow.Linux", @"\b[Oo]verlay\b|copy-on-write", "nothing: this room knows nothing of copy-on-write" },
    };

    [Theory]
    [MemberData(nameof(Bans))]
    public void Banned_words_stay_out(string room, string pattern, string instead)
    {
        foreach (var path in Directory.EnumerateFiles(Path.Combine(Root, "src", room), "*.cs", SearchOption.AllDirectories)
            .Where(path => !path.Contains("/obj/", StringComparison.Ordinal)))
        {
            var code = string.Join('\n', File.ReadLines(path).Where(line => !line.TrimStart().StartsWith("//", StringComparison.Ordinal)));
            var match = Regex.Match(code, pattern);
            Assert.False(match.Success, $"{path} has '{match.Value}'; use {instead}");
        }
    }

    [Fact]
    public void Each_mutation_has_its_marker_in_the_code_and_each_marker_its_mutation()
    {
        var marked = Sources.SelectMany(File.ReadLines).Select(line => Marker().Match(line))
            .SelectMany(match => match.Groups[1].Value.Split(", ", StringSplitOptions.RemoveEmptyEntries));
        var tried = Directory.EnumerateFiles(Path.Combine(Root, "tests", "mutations"), "*.list").SelectMany(File.ReadLines)
            .Select(line => Mutation().Match(line))
            .Where(match => match.Success).Select(match => match.Groups[1].Value);
        Assert.Equal(tried.Order(StringComparer.Ordinal), marked.Order(StringComparer.Ordinal));
        Assert.Equal(tried.Distinct().Count(), tried.Count());
    }

    /// <summary>Else a server that somebody else runs on the machine would be among what the test sees.</summary>
    [Fact]
    public void System_tests_start_processes_in_their_tests_own_surroundings()
    {
        var starts = Sources.Where(path => path.Contains("/Lincow.SystemTests/", StringComparison.Ordinal)
            && !path.EndsWith("/Harness/Surroundings.cs", StringComparison.Ordinal))
            .Where(path => ProcessStart().IsMatch(File.ReadAllText(path)));
        Assert.Empty(starts);
    }

    [Theory]
    [InlineData("Lincow.Linux")]
    [InlineData("Lincow.Engine")]
    [InlineData("Lincow.Serving")]
    public void The_library_names_no_option_and_no_command(string project)
    {
        // What qemu's own programs are given is no sentence.
        var lines = Sources.Where(path => path.StartsWith(Path.Combine(Root, "src", project) + "/", StringComparison.Ordinal))
            .SelectMany(path => File.ReadLines(path).Select((line, index) => (Line: line.Trim(), Place: $"{path}:{index + 1}")))
            .Where(line => !line.Line.StartsWith("//", StringComparison.Ordinal))
            .Where(line => CommandLine().IsMatch(line.Place.Contains("/Qcow2/", StringComparison.Ordinal)
                ? WholeArgument().Replace(line.Line, "") : line.Line));
        Assert.Empty(lines.Select(line => $"{line.Place}: {line.Line}"));
    }

    private static string FindRoot()
    {
        var directory = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(directory.FullName, "lincow.slnx")))
            directory = directory.Parent ?? throw new InvalidOperationException("the tests must run inside the repository");
        return directory.FullName;
    }

    [GeneratedRegex(@"^\s*// mutation: ([\w, -]+?)(?: \(\d+ lines\))?$")]
    private static partial Regex Marker();

    [GeneratedRegex(@"""[^""]*(--[a-z]|'lincow |lincow (serve|run|attach|detach|status|create|check|commit|reset|info|map|convert)\b)")]
    private static partial Regex CommandLine();

    [GeneratedRegex(@"""--[a-z=-]+""")]
    private static partial Regex WholeArgument();

    [GeneratedRegex(@"^try(?:_system)? ([\w-]+) ")]
    private static partial Regex Mutation();

    [GeneratedRegex(@"\bProcess\.Start\(")]
    private static partial Regex ProcessStart();

    [GeneratedRegex(@"ProjectReference Include=""[^""]*/([\w.]+)\.csproj""")]
    private static partial Regex ProjectReference();
}
