using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Clients;

/// <summary>fio writes blocks that carry their own checksum, from several jobs at once, and reads them back.</summary>
public class FioTests
{
    [Theory]
    [InlineData("4k", "4K", "randwrite")]
    [InlineData("512", "64K", "randwrite")]
    [InlineData("4k", "4K", "randtrimwrite")]
    public void Fio_finds_every_block_as_it_wrote_it(string block, string chunk, string pattern)
    {
        using var served = new ServedOverlay(16 << 20, create: ["--chunk", chunk]);
        RequireNbdEngine();
        Tool.Ok("fio", "--name=verify", "--ioengine=nbd", "--uri=" + served.Uri, "--rw=" + pattern, "--bs=" + block, "--iodepth=16",
            "--size=16M", "--io_size=8M", "--randseed=42", "--fsync=200", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1",
                "--output-format=terse");
        served.Stop();
        Assert.Empty(Cli.Check(served.Overlay).Findings);
    }

    [Fact]
    public void Fio_verifies_after_a_restart_what_it_wrote_before()
    {
        using var served = new ServedOverlay(16 << 20);
        RequireNbdEngine();
        string[] job = ["--name=verify", "--ioengine=nbd", "--rw=randwrite", "--bs=4k", "--iodepth=16", "--size=16M", "--randseed=7",
            "--verify=crc32c", "--verify_fatal=1"];
        Tool.Ok("fio", [.. job, "--uri=" + served.Uri, "--do_verify=0", "--end_fsync=1"]);
        served.Stop();
        served.Start("--read-only");
        Tool.Ok("fio", [.. job, "--uri=" + served.Uri, "--verify_only=1"]);
        served.Stop();
    }

    private static void RequireNbdEngine()
    {
        if (!Tool.Ok("fio", "--enghelp").Split('\n').Any(line => line.Trim() == "nbd"))
            Tool.Missing("this fio has no nbd engine");
    }
}
