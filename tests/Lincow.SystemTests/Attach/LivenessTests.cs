using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Attach;

/// <summary>Which servers live, and which are dead, as others see it.</summary>
public class LivenessTests
{
    [Theory]
    [InlineData("--mount-proc")]
    // There /proc shows other numbers than the process knows of itself.
    [InlineData(null)]
    public void A_server_in_a_container_is_not_stale_and_can_be_reached(string? mountProc)
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        var start = new ProcessStartInfo("unshare",
            ["--pid", "--fork", "--kill-child", .. mountProc is null ? Array.Empty<string>() : [mountProc], Cli.Binary, "attach",
                scratch["o.cow"], "--foreground"])
        { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["LINCOW_RUN_DIR"] = scratch["run"];
        using var container = Surroundings.Start(start);
        try
        {
            var device = container.StandardOutput.ReadLine()!;
            Assert.StartsWith("/dev/", device);
            Assert.False(Assert.Single(attachments.Status()).Stale);
            var said = attachments.Ok("status");
            if (mountProc is not null)
            {
                Assert.Contains("of another pid namespace, pid:[", said);
                var pidNamespace = JsonDocument.Parse(attachments.Ok("status", "--json")).RootElement[0].GetProperty("pidNamespace");
                Assert.StartsWith("pid:[", pidNamespace.GetString());
            }
            Assert.Equal("", attachments.Ok("detach", "--stale"));
            Assert.Equal(new byte[4096], Scratch.ReadAt(device, 0, 4096));
            attachments.Ok("detach", scratch["o.cow"]);
            Assert.True(container.WaitForExit(Tool.Timeout));
            attachments.AssertNothingLeft();
        }
        finally
        {
            if (!container.HasExited)
                container.Kill();
        }
    }

    [Fact]
    public void A_container_that_was_killed_is_stale()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        var start = new ProcessStartInfo("unshare",
            ["--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "shared", Cli.Binary, "attach", scratch["o.cow"],
                "--foreground"])
        { RedirectStandardOutput = true };
        start.Environment["LINCOW_RUN_DIR"] = scratch["run"];
        using var container = Surroundings.Start(start);
        Assert.StartsWith("/dev/", container.StandardOutput.ReadLine());
        container.Kill();
        container.WaitForExit();
        var time = Stopwatch.StartNew();
        while (!Assert.Single(attachments.Status()).Stale)
            Assert.True(time.Elapsed < Tool.Timeout, "it lives on");
        attachments.Ok("detach", "--stale");
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void The_record_of_a_dead_server_that_attached_nothing_goes_with_the_first_look()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        var run = new Dictionary<string, string> { ["LINCOW_RUN_DIR"] = scratch["run"] };
        using var server = LincowServer.Start([scratch["o.cow"], "--nbd", "unix:" + scratch.NewSocket()], environment: run);
        Assert.Contains("by process", Tool.Run(Cli.Binary, ["status"], run).Output);
        server.Kill();
        Assert.Equal("[]", Tool.Run(Cli.Binary, ["status", "--json"], run).Output.Trim());
        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch["run"]));
        Assert.Contains("is not attached", Tool.Run(Cli.Binary, ["detach", scratch["o.cow"]], run).Errors);
    }

    [Fact]
    public void What_cannot_be_judged_is_not_stale()
    {
        using var attachments = new Attachments();
        var run = attachments.Scratch["run"];
        Directory.CreateDirectory(run, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        // Older servers have no lock, nor do those on file systems without locks. Number 1 is another process here, if it is meant to be
        // of here.
        const string record = """
            {"pid":1,"startTime":1,"command":"attach","since":"2026-01-01T00:00:00+00:00","exports":[{"name":"x","via":"nbd"}],"host":0
            """;
        File.WriteAllText(run + "/1-1.json", record + ""","pidNamespace":"pid:[1]"}""");
        Assert.False(Assert.Single(attachments.Status()).Stale);
        Assert.Equal("", attachments.Ok("detach", "--stale"));
        Assert.True(File.Exists(run + "/1-1.json"));
        File.WriteAllText(run + "/1-1.json", record + "}");
        Assert.True(Assert.Single(attachments.Status()).Stale);
        attachments.Ok("detach", "--stale");
        Assert.False(File.Exists(run + "/1-1.json"));
    }

    [Fact]
    public void A_server_that_stands_still_is_named_and_detach_comes_to_an_end()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        attachments.Attach(scratch["o.cow"]);
        var server = attachments.Status()[0].Pid.ToString(CultureInfo.InvariantCulture);
        Tool.Ok("kill", "-STOP", server);
        try
        {
            Assert.Contains($"process {server} (lincow) serves it and doesn't answer",
                attachments.Fails("detach", scratch["o.cow"], "--wait", "0"));
        }
        finally
        {
            Tool.Ok("kill", "-CONT", server);
        }
        attachments.Ok("detach", scratch["o.cow"]);
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void Of_a_disk_that_stands_still_detach_says_so_and_the_device_goes_when_it_moves()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        var image = scratch.Sparse("disk.img", 64 << 20);
        Tool.Ok("mkfs.ext4", "-q", image);
        var disk = attachments.Mount(image, "disk");
        Cli.Ok("create", disk + "/o.cow", "--origin", "zero:4M");
        var device = attachments.Attach(disk + "/o.cow", "--via", "fuse");
        Tool.Ok("fsfreeze", "--freeze", disk);
        Process? writer = null;
        try
        {
            // It has closed the device, and that waits for what it wrote.
            writer = Surroundings.Start(new ProcessStartInfo("dd", ["if=/dev/zero", "of=" + device, "bs=4096", "count=1", "conv=notrunc"]));
            var time = Stopwatch.StartNew();
            while (File.ReadAllText($"/proc/{writer.Id}/stat").Split(' ')[2] != "D"
                || Directory.EnumerateFiles($"/proc/{writer.Id}/fd").Any(path => new FileInfo(path).LinkTarget == device))
                Assert.True(time.Elapsed < Tool.Timeout, "nothing waits");
            Assert.Contains($"{device}: can't be taken away yet", attachments.Fails("detach", device, "--wait", "0"));
        }
        finally
        {
            Tool.Ok("fsfreeze", "--unfreeze", disk);
            writer?.WaitForExit();
            writer?.Dispose();
        }
        var end = Stopwatch.StartNew();
        while (attachments.Status().Count > 0)
            Assert.True(end.Elapsed < Tool.Timeout, "it stays");
        Tool.Ok("umount", disk);
        attachments.AssertNothingLeft();
    }
}
