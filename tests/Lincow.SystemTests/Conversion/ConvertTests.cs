using System.Diagnostics;
using System.Text.Json;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Conversion;

/// <summary>What <c>lincow convert</c> promises for every format.</summary>
public class ConvertTests
{
    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    [InlineData("uml")]
    [InlineData("qcow2")]
    public void Killed_at_any_moment_it_leaves_nothing_that_looks_complete(string format)
    {
        var seed = Seeds.Pick(format.Length);
        var random = new Random(seed);
        using var scratch = new Scratch();
        var overlay = new ChangedOverlay(scratch, 24 << 20, "4K", seed);
        var (whole, target) = (scratch["whole"], scratch["target"]);
        var clock = Stopwatch.StartNew();
        Cli.Ok("convert", overlay.Path, whole, "--to", format);
        var usual = clock.Elapsed.TotalMilliseconds;
        int early = 0, complete = 0;
        for (var turn = 0; turn < 25; turn++)
        {
            var process = Surroundings.Start(new ProcessStartInfo(Cli.Binary,
                ["convert", overlay.Path, target, "--to", format, "--quiet"])
            { RedirectStandardError = true });
            Thread.Sleep((int)(random.NextDouble() * usual));
            process.Kill();
            process.WaitForExit();
            early += File.Exists(target) ? 0 : 1;
            if (!File.Exists(target))
                continue;
            complete++;
            AssertSame(scratch, overlay, target);
            File.Delete(target);
        }
        Assert.True(early > 0, $"seed {seed}: {early} of 25 conversions were cut off before their end");
        // Nor does a program that it has started outlive it for long.
        for (var wait = 0; wait < 500 && HasProcess(scratch.Directory); wait++)
            Thread.Sleep(10);
        Assert.False(HasProcess(scratch.Directory), "a process is left");
        // What they left behind is no hindrance, and goes away.
        Cli.Ok("convert", overlay.Path, target, "--to", format);
        AssertSame(scratch, overlay, target);
        Assert.Empty(Directory.GetFiles(scratch.Directory, ".*"));
        TestContext.Current.TestOutputHelper?.WriteLine($"{format}: {early} cut off, {complete} complete");
    }

    [Fact]
    public void A_signal_ends_it_and_leaves_nothing()
    {
        using var scratch = new Scratch();
        var origin = scratch.Sparse("origin.img", 1 << 30);
        // Chunks of 64 MiB with a byte in each: there is time for a signal.
        Cli.Ok("create", scratch["work.cow"], "--origin", origin, "--chunk", "64M");
        using (var server = LincowServer.Start(scratch, scratch["work.cow"]))
        {
            Nbd.QemuIo(server.Uri, [.. Enumerable.Range(0, 6).Select(i => $"write -P 1 {i * 64}M 1")]);
            server.Stop();
        }
        using var process = Surroundings.Start(new ProcessStartInfo("env",
            ["--default-signal=INT", Cli.Binary, "convert", scratch["work.cow"], scratch["new.img"], "--to",
            "snapshot"])
        { RedirectStandardError = true });
        while (!File.Exists(scratch[".new.img.converting"]))
            Thread.Sleep(1);
        Tool.Ok("kill", "-INT", $"{process.Id}");
        var errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(Cli.Failed, process.ExitCode);
        Assert.Contains("interrupted", errors);
        Assert.Equal(["origin.img", "work.cow"],
            Directory.GetFiles(scratch.Directory, "*", new EnumerationOptions { AttributesToSkip = 0 }).Select(Path.GetFileName)
            .Where(name => !name!.StartsWith('s')).Order());
    }

    [Fact]
    public void Only_what_has_changed_is_moved()
    {
        using var scratch = new Scratch();
        var origin = scratch.Sparse("origin.img", 4L << 40);
        Cli.Ok("create", scratch["work.cow"], "--origin", origin);
        using (var server = LincowServer.Start(scratch, scratch["work.cow"]))
        {
            Nbd.QemuIo(server.Uri, "write -P 1 0 64k", "write -P 2 3T 4k", "write -z -u 1T 1M", "write -P 3 4398046507008 4k");
            server.Stop();
        }
        foreach (var format in new[] { "snapshot", "uml", "linear", "qcow2" })
        {
            using var report = JsonDocument.Parse(Cli.Ok("convert", scratch["work.cow"], scratch[format], "--to", format, "--json"));
            Assert.Equal((72L << 10, 1L << 20),
                (report.RootElement.GetProperty("dataBytes").GetInt64(), report.RootElement.GetProperty("zeroBytes").GetInt64()));
            // qcow2 has a table that isn't sparse, 8 bytes for each 2 MiB of the device.
            Assert.InRange(Scratch.DiskUsage(scratch[format]), 72 << 10, format == "qcow2" ? 17 << 20 : 2 << 20);
            Cli.Ok("convert", scratch[format], scratch["back"], "--origin", origin, "--to", "linear", "--force");
            using var server = LincowServer.Start(scratch, scratch["back"], "--read-only");
            Nbd.QemuIoReadOnly(server.Uri, "read -P 1 0 64k", "read -P 0 64k 1M", "read -P 2 3T 4k", "read -P 0 1T 1M",
                "read -P 3 4398046507008 4k");
        }
    }

    [Fact]
    public void Nothing_is_replaced_or_read_that_is_in_use_or_not_given_up()
    {
        using var served = new ServedOverlay();
        var scratch = served.Scratch;
        Cli.Ok("create", scratch["other.cow"], "--origin", served.Origin);
        Assert.Contains("in use", Cli.Fails("convert", served.Overlay, scratch["new.img"], "--to", "snapshot"));
        Assert.Contains("in use", Cli.Fails("convert", scratch["other.cow"], served.Overlay, "--to", "snapshot", "--force"));
        served.Stop();
        var before = Scratch.Sha256(served.Overlay);
        Assert.Contains("--force", Cli.Fails("convert", scratch["other.cow"], served.Overlay, "--to", "snapshot"));
        Assert.Contains("source itself", Cli.Fails("convert", served.Overlay, served.Overlay, "--to", "uml", "--force"));
        Assert.Contains("the origin itself", Cli.Fails("convert", served.Overlay, served.Origin, "--to", "uml", "--force"));
        Assert.Contains("--to", Cli.Fails("convert", served.Overlay, scratch["new.img"]));
        Assert.Contains("none of the formats", Cli.Fails("convert", served.Origin, scratch["new.img"]));
        Assert.Contains("512", Cli.Fails("convert", served.Overlay, scratch["new.img"], "--to", "uml", "--chunk", "4K"));
        Cli.Misused("convert", served.Overlay, scratch["new.img"], "--to", "vhd");
        Assert.Equal(before, Scratch.Sha256(served.Overlay));
        Cli.Ok("convert", scratch["other.cow"], served.Overlay, "--to", "uml", "--force");
        Assert.Contains("backing file", Cli.Fails("convert", MakeOverNothing(scratch), scratch["new.img"], "--to", "uml"));
    }

    private static bool HasProcess(string word) => Directory.EnumerateDirectories("/proc").Any(process =>
    {
        try
        {
            return File.ReadAllText(process + "/cmdline").Contains(word, StringComparison.Ordinal);
        }
        catch (IOException)
        {
            // No process, or not any more.
            return false;
        }
    });

    private static string MakeOverNothing(Scratch scratch)
    {
        Cli.Ok("create", scratch["nothing.cow"], "--origin", "zero:1M");
        return scratch["nothing.cow"];
    }

    private static void AssertSame(Scratch scratch, ChangedOverlay overlay, string path)
    {
        Cli.Ok("convert", path, scratch["look.cow"], "--origin", overlay.Origin, "--to", "linear", "--force");
        Assert.Equal(overlay.Content, ChangedOverlay.Read(scratch, scratch["look.cow"]));
    }

    [Fact]
    public void A_block_device_that_is_refused_is_as_it_was()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["large.cow"], "--origin", scratch.Random("origin.img", 1 << 20), "--size", "2M");
        Cli.Ok("create", scratch["same.cow"], "--origin", scratch["origin.img"]);
        using var device = new LoopDevice(scratch.Random("disk", 1 << 20, seed: 3));
        Assert.Contains("as large as its origin", Cli.Fails("convert", scratch["large.cow"], device.Path, "--to", "snapshot", "--force"));
        Assert.Contains("regular files only", Cli.Fails("convert", scratch["same.cow"], device.Path, "--to", "uml", "--force"));
        Assert.Contains("regular files only", Cli.Fails("convert", scratch["same.cow"], device.Path, "--to", "qcow2", "--force"));
        Assert.Contains("needs", Cli.Fails("convert", Store(), device.Path, "--to", "linear", "--force"));
        Assert.Equal(Scratch.RandomBytes(1 << 20, 3), Scratch.ReadAt(device.Path, 0, 1 << 20));

        string Store()
        {
            Cli.Ok("create", scratch["store"], "--origin", scratch["origin.img"], "--store", "snapshot");
            return scratch["store"];
        }
    }
}
