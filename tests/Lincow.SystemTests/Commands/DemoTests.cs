using System.Text.RegularExpressions;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary><c>lincow demo</c>: the whole story.</summary>
public partial class DemoTests
{
    [Fact]
    public void The_demo_runs_shows_the_same_hash_twice_and_cleans_up()
    {
        Tool.Find("mke2fs");
        using var scratch = new Scratch();
        var temporary = Directory.CreateDirectory(scratch["tmp"]).FullName;
        var result = Tool.Run(Cli.Binary, ["demo"], new() { ["TMPDIR"] = temporary });
        Assert.True(result.ExitCode == 0, result.ToString());
        var hashes = Hash().Matches(result.Output).Select(match => match.Value).ToList();
        Assert.True(hashes.Count >= 2, result.ToString());
        Assert.Single(hashes.Distinct());
        foreach (var word in new[] { "lincow create", "lincow serve", "lincow reset" })
            Assert.Contains(word, result.Output);
        Assert.Empty(Directory.EnumerateFileSystemEntries(temporary));
    }

    [GeneratedRegex(@"\b[0-9a-f]{64}\b")]
    private static partial Regex Hash();
}
