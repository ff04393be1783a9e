using System.Globalization;
using System.Text;

namespace Lincow.SystemTests.Harness;

/// <summary>
/// Stores that kernels wrote (tests/samples/README.md), and the origins below them, which are made here from what they consist of.
/// </summary>
internal static class Samples
{
    public const int UmlModifiedSeconds = 1_700_000_000;

    private const int SectorBytes = 512;

    /// <summary>Unpacks a file of the samples.</summary>
    public static string Unpack(Scratch scratch, string name)
    {
        var path = scratch[Path.GetFileName(name)];
        File.Copy(Cli.InRepository($"tests/samples/{name}.xz"), path + ".xz");
        Tool.Ok("xz", "--decompress", path + ".xz");
        return path;
    }

    /// <summary>The content that the kernel read, as a SHA-256.</summary>
    public static string MergedSha256(string folder) => Sha256(folder, "merged");

    /// <summary>An origin, with the writes that its plan has for it, checked against its SHA-256.</summary>
    public static string Origin(Scratch scratch, string folder, int bytes)
    {
        var content = new byte[bytes];
        for (var sector = 0; sector < bytes / SectorBytes; sector++)
            Write(content, sector, string.Create(CultureInfo.InvariantCulture, $"ORIGIN {sector:D10} "));
        var plan = Cli.InRepository($"tests/samples/{folder}/plan.txt");
        foreach (var line in File.Exists(plan) ? File.ReadLines(plan) : [])
        {
            var words = line.Split(' ');
            var (start, count, number) = (int.Parse(words[1], null), int.Parse(words[2], null), int.Parse(words[3], null));
            for (var sector = start; words[0] == "orig" && sector < start + count; sector++)
                Write(content, sector, string.Create(CultureInfo.InvariantCulture, $"orig {number:D5} {sector:D10} "));
        }
        var path = scratch["origin.img"];
        File.WriteAllBytes(path, content);
        File.SetLastWriteTimeUtc(path, DateTimeOffset.FromUnixTimeSeconds(UmlModifiedSeconds).UtcDateTime);
        Assert.Equal(Sha256(folder, "origin"), Scratch.Sha256(path), ignoreCase: true);
        return path;
    }

    private static string Sha256(string folder, string what) =>
        File.ReadAllText(Cli.InRepository($"tests/samples/{folder}/{what}.sha256")).Trim();

    private static void Write(byte[] content, int sector, string text)
    {
        var target = content.AsSpan(sector * SectorBytes, SectorBytes);
        var repeated = string.Concat(Enumerable.Repeat(text, SectorBytes / text.Length + 1));
        Encoding.ASCII.GetBytes(repeated[..(SectorBytes - 1)] + "\n", target);
    }
}
