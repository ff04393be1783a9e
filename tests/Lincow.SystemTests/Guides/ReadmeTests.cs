using System.Text.RegularExpressions;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Guides;

/// <summary>The README's own lines, pasted.</summary>
public partial class ReadmeTests
{
    [Fact]
    public void The_five_lines_can_be_pasted_as_they_are()
    {
        foreach (var tool in new[] { "qemu-io", "nbdcopy", "cmp", "sha256sum" })
            Tool.Find(tool);
        using var scratch = new Scratch();
        var text = File.ReadAllText(Cli.InRepository("README.md"));
        var section = text[text.IndexOf("## Five lines", StringComparison.Ordinal)..];
        section = section[..section.IndexOf("\n## ", StringComparison.Ordinal)];
        // What is typed, not what is printed.
        var block = Assert.Single(Block().Matches(section), match => match.Value.Contains("lincow create", StringComparison.Ordinal)).Value;
        scratch.Random("disk.img", 64 << 20);
        File.CreateSymbolicLink(scratch["lincow"], Cli.Binary);
        var before = Scratch.Sha256(scratch["disk.img"]);
        // A paste doesn't stop at a line that fails, so each is looked at; the shell is an interactive one.
        var lines = block.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(5, lines.Length);
        var script = string.Join('\n', lines.Select(line => $"{line.Trim()}\necho \"status $?\"\n"));
        File.WriteAllText(scratch["paste"], script + "sha256sum disk.img\nexit\n");
        try
        {
            var result = Tool.Run("bash", ["-c", "cd \"$0\" && bash --norc --noprofile -i < paste", scratch.Directory], []);
            var statuses = Status().Matches(result.Output).Select(match => match.Groups[1].Value).ToList();
            Assert.True(statuses.Count == lines.Length && statuses.TrueForAll(status => status == "0"), result.ToString());
            Assert.Contains("ready nbd+unix:///work?socket=", result.Output);
            Assert.Contains("16 data, 0 zero, 16368 origin", result.Output);
            Assert.Contains("the same\n", result.Output);
            Assert.Contains(before, result.Output, StringComparison.OrdinalIgnoreCase);
        }
        finally
        {
            Tool.Run(Cli.Binary, "stop", scratch["work.cow"], "--quiet");
        }
        Assert.Equal(before, Scratch.Sha256(scratch["disk.img"]));
        Assert.Equal(0, Cli.Info(scratch["work.cow"]).Chunks.Data);
    }

    [GeneratedRegex(@"(?:^    .*\n)+", RegexOptions.Multiline)]
    private static partial Regex Block();

    [GeneratedRegex(@"^status (\d+)$", RegexOptions.Multiline)]
    private static partial Regex Status();
}
