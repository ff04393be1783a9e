using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;

namespace Lincow.SystemTests.Guides;

/// <summary>A page of docs/guides, as the shell commands that it shows: its blocks marked sh, in order.</summary>
internal sealed partial class Guide
{
    public Guide(string name, [CallerFilePath] string here = "")
    {
        var text = File.ReadAllText(Path.Combine(Path.GetDirectoryName(here)!, "../../../docs/guides", name));
        Blocks = [.. Block().Matches(text).Select(match => match.Groups[1].Value)];
        Assert.NotEmpty(Blocks);
    }

    public List<string> Blocks { get; }

    [GeneratedRegex(@"^```sh\n(.*?)^```$", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Block();
}
