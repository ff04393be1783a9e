using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Durability;

/// <summary>With --survive-kill, a client that connects again after kill -9 finds all that was answered, without a flush.</summary>
public class SurviveKillTests
{
    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    public void What_was_answered_is_there_for_the_next_server(string store)
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 16 << 20);
        Cli.Ok("create", scratch["a.cow"], "--origin", origin, "--store", store);
        for (var round = 0; round < 3; round++)
        {
            using (var server = LincowServer.Start(scratch, scratch["a.cow"], "--survive-kill"))
            {
                Nbd.Script("""
                    h, start = connect(sys.argv[1]), int(sys.argv[2])
                    for i in range(100):
                        h.pwrite(bytes([i + 1]) * 4096, start + (i << 14))
                        h.pwrite(bytes([i + 1]) * 100, start + (i << 14) + 8192 + 50)
                    """, server.Uri, $"{round * (4 << 20)}");
                server.Kill();
            }
            using var again = LincowServer.Start(scratch, scratch["a.cow"], "--survive-kill");
            Nbd.Script("""
                h, start = connect(sys.argv[1]), int(sys.argv[2])
                for i in range(100):
                    check(h.pread(4096, start + (i << 14)) == bytes([i + 1]) * 4096, 'what was answered')
                    check(h.pread(100, start + (i << 14) + 8192 + 50) == bytes([i + 1]) * 100, 'a part of a chunk')
                """, again.Uri, $"{round * (4 << 20)}");
            again.Kill();
        }
        Assert.Empty(Cli.Check(scratch["a.cow"]).Findings);
    }

    [Fact]
    public void It_is_refused_where_nothing_can_survive()
    {
        using var scratch = new Scratch();
        Assert.Contains("--survive-kill: a transient overlay", Cli.Misused("serve", "--origin", "zero:1M", "--survive-kill"));
    }
}
