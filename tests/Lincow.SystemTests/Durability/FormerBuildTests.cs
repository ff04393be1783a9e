using System.Text.Json.Nodes;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Durability;

/// <summary>
/// What an earlier build left on disk in every state, and what it said of that (tests/samples/lincow, made by tests/compat): this build
/// reads the same and can go on from there. tests/compat compares two builds byte for byte.
/// </summary>
public class FormerBuildTests
{
    private const int OriginBytes = 4 << 20, CommittedBytes = 128 << 20;

    public static TheoryData<string> States => ["front", "separate", "snapshot", "in-use", "reset", "commit"];

    [Theory]
    [MemberData(nameof(States))]
    public void Its_files_are_read_as_it_read_them(string state)
    {
        using var scratch = new Scratch();
        var (overlay, origin) = Unpack(scratch, state);
        var former = JsonNode.Parse(File.ReadAllText(Cli.InRepository($"tests/samples/lincow/{state}.json")))!;
        AssertHolds(former["info"]!, Told(scratch, "info", overlay));
        AssertHolds(former["map"]!, Told(scratch, "map", overlay, "--origin", origin, "--accept-origin"));
        AssertHolds(former["check"]!, Told(scratch, "check", overlay));
        using var server = LincowServer.Start(scratch, overlay, "--origin", origin, "--accept-origin", "--read-only");
        Tool.Ok("nbdcopy", server.Uri, scratch["content"]);
        server.Stop();
        Assert.Equal(former["content"]!.GetValue<string>(), Scratch.Sha256(scratch["content"]), ignoreCase: true);
    }

    [Theory]
    [MemberData(nameof(States))]
    public void Its_files_are_written_on(string state)
    {
        using var scratch = new Scratch();
        var (overlay, origin) = Unpack(scratch, state);
        byte[] expected;
        using (var server = LincowServer.Start(scratch, overlay, "--origin", origin, "--accept-origin"))
        {
            expected = Nbd.ReadAll(scratch, server.Uri);
            Nbd.QemuIo(server.Uri, "write -P 9 10000 100000", "write -z 3M 64k", "flush");
            expected.AsSpan(10000, 100_000).Fill(9);
            expected.AsSpan(3 << 20, 64 << 10).Clear();
            server.Stop();
        }
        Assert.Empty(Cli.Check(overlay).Findings);
        if (state == "reset")
            Assert.InRange(Scratch.DiskUsage(overlay), 0, 1 << 20);
        // A commit that was ended is taken up; it began with the first half.
        if (state == "commit")
        {
            Cli.Ok("commit", overlay);
            Assert.False(Told(scratch, "info", overlay)["unfinishedCommit"]!.GetValue<bool>());
            Assert.Equal(expected, File.ReadAllBytes(origin));
            Assert.Equal(CommittedBytes, expected.Length);
        }
        using var last = LincowServer.Start(scratch, overlay, "--read-only");
        Assert.Equal(expected, Nbd.ReadAll(scratch, last.Uri));
        last.Stop();
    }

    private static (string Overlay, string Origin) Unpack(Scratch scratch, string state)
    {
        Tool.Ok("tar", "--extract", "--xattrs", "--file", Cli.InRepository($"tests/samples/lincow/{state}.tar.xz"), "--directory",
            scratch.Directory);
        return (scratch["work.cow"], state == "commit" ? scratch["origin.img"] : Samples.Origin(scratch, "lincow", OriginBytes));
    }

    private static JsonNode Told(Scratch scratch, string command, params string[] arguments) =>
        JsonNode.Parse(Cli.Ok([command, .. arguments, "--json"]).Replace(scratch.Directory, "@", StringComparison.Ordinal))!;

    /// <summary>Every field is there and says the same; there may be others by now.</summary>
    private static void AssertHolds(JsonNode? former, JsonNode? now)
    {
        if (former is JsonObject fields)
        {
            foreach (var (name, value) in fields)
            {
                Assert.True(now!.AsObject().ContainsKey(name), $"{former.GetPath()}.{name} is missing");
                AssertHolds(value, now[name]);
            }
        }
        else if (former is JsonArray elements)
        {
            Assert.Equal(elements.Count, now!.AsArray().Count);
            for (var i = 0; i < elements.Count; i++)
                AssertHolds(elements[i], now[i]);
        }
        else
        {
            Assert.True(JsonNode.DeepEquals(former, now),
                $"{former?.GetPath()}: {former?.ToJsonString() ?? "null"} then, {now?.ToJsonString() ?? "null"} now");
        }
    }
}
