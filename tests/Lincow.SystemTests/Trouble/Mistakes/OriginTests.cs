using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Mistakes;

/// <summary>The origin is never written, and an overlay knows its own.</summary>
public class OriginTests
{
    /// <summary>64 samples of 4 KiB: small enough that every byte is in the sampled hash.</summary>
    private const int FullySampledBytes = 256 << 10;

    [Theory]
    [InlineData("4K", false)]
    [InlineData("1M", false)]
    [InlineData("4K", true)]
    public void A_heavy_session_leaves_the_origin_as_it_was(string chunk, bool isReadOnlyFile)
    {
        const int seed = 55, bytes = 6 << 20;
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", bytes, seed);
        if (isReadOnlyFile)
            File.SetUnixFileMode(origin, UnixFileMode.UserRead);
        var before = Facts(origin);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin, "--chunk", chunk, "--size", "7M");
        var model = new DeviceModel([.. File.ReadAllBytes(origin), .. new byte[1 << 20]], seed);
        using (var server = LincowServer.Start(scratch, scratch["o.cow"]))
        {
            model.AddRandomOperations(400, 64 << 10);
            model.Zero(0, 1 << 20, "trim");
            model.Play(scratch, server.Uri);
            model.AssertDeviceEquals(scratch, server.Uri);
            server.Stop();
        }
        Cli.Ok("reset", scratch["o.cow"]);
        Assert.Equal(before, Facts(origin));
    }

    [Fact]
    public void An_origin_with_another_modification_time_is_refused_until_it_is_accepted()
    {
        using var served = new ServedOverlay(FullySampledBytes);
        served.Stop();
        Tool.Ok("touch", "--date=2031-02-03 04:05:06.789", served.Origin);
        AssertRefusedThenAccepted(served, "modified at 2031-02-03");
    }

    [Fact]
    public void A_modification_time_that_differs_by_a_nanosecond_is_seen()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", FullySampledBytes);
        Tool.Ok("touch", "--date=2024-02-03 04:05:06.123456789", origin);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        Tool.Ok("touch", "--date=2024-02-03 04:05:06.123456788", origin);
        Assert.Contains(".123456788", Cli.Fails("serve", scratch["o.cow"], "--nbd", "unix:" + scratch["s"]));
    }

    [Theory]
    [InlineData(FullySampledBytes - 512)]
    [InlineData(0)]
    public void An_origin_of_another_size_is_refused_until_it_is_accepted(int newBytes)
    {
        using var served = new ServedOverlay(FullySampledBytes);
        served.Stop();
        using (var file = File.OpenWrite(served.Origin))
            file.SetLength(newBytes);
        AssertRefusedThenAccepted(served, $"its size is {newBytes} bytes now and was {FullySampledBytes}");
    }

    [Fact]
    public void An_origin_that_has_grown_beyond_the_device_is_refused_even_when_accepted()
    {
        using var served = new ServedOverlay(FullySampledBytes);
        served.Stop();
        using (var file = File.OpenWrite(served.Origin))
            file.SetLength(FullySampledBytes + 4096);
        var error = Cli.Fails("serve", served.Overlay, "--accept-origin", "--nbd", "unix:" + served.Scratch.NewSocket());
        Assert.Contains(served.Origin, error);
        Assert.Contains($"{FullySampledBytes + 4096}", error);
    }

    [Fact]
    public void Changed_content_is_seen_even_when_the_modification_time_was_put_back()
    {
        using var served = new ServedOverlay(FullySampledBytes);
        served.Stop();
        var reference = served.Scratch["reference"];
        File.WriteAllText(reference, "");
        Tool.Ok("touch", "--reference=" + served.Origin, reference);
        Scratch.WriteAt(served.Origin, 123_456, [(byte)(served.OriginContent[123_456] ^ 1)]);
        Tool.Ok("touch", "--reference=" + reference, served.Origin);
        AssertRefusedThenAccepted(served, "content differs");
    }

    [Fact]
    public void An_origin_of_another_kind_is_refused()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", FullySampledBytes);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        using var loop = new LoopDevice(origin);
        var error = Cli.Fails("serve", scratch["o.cow"], "--origin", loop.Path, "--nbd", "unix:" + scratch["s"]);
        Assert.Contains("block device now and was a regular file", error);
    }

    [Fact]
    public void A_moved_origin_is_an_error_and_is_found_with_origin_from_then_on()
    {
        using var served = new ServedOverlay(FullySampledBytes);
        Nbd.QemuIo(served.Uri, "write -P 3 0 4k");
        served.Stop();
        var moved = served.Scratch["moved.img"];
        File.Move(served.Origin, moved);
        Assert.False(Cli.Info(served.Overlay).Origin.Present);
        var error = Cli.Fails("serve", served.Overlay, "--nbd", "unix:" + served.Scratch.NewSocket());
        Assert.Contains(served.Origin, error);
        Assert.Contains("--origin", error);
        served.Start("--origin", moved);
        Nbd.QemuIo(served.Uri, "read -P 3 0 4k");
        served.Stop();
        // It remembers.
        Assert.Equal(moved, Cli.Info(served.Overlay).Origin.Uri);
        served.Start();
        served.Stop();
    }

    [Fact]
    public void A_relative_origin_is_found_from_another_directory()
    {
        using var scratch = new Scratch();
        scratch.Random("origin.img", FullySampledBytes);
        Tool.Ok("sh", "-c", "cd \"$1\" && exec \"$0\" create o.cow --origin origin.img", Cli.Binary, scratch.Directory);
        Assert.Equal(scratch["origin.img"], Cli.Info(scratch["o.cow"]).Origin.Uri);
        using var server = LincowServer.Start(scratch, scratch["o.cow"]);
        server.Stop();
    }

    [Fact]
    public void The_overlay_can_not_be_its_own_origin()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", FullySampledBytes);
        var before = Facts(origin);
        Assert.Contains("is the origin itself", Cli.Fails("create", origin, "--origin", origin, "--force"));
        Assert.Contains("is the origin itself", Cli.Fails("create", scratch["o.cow"], "--map", origin, "--origin", origin, "--force"));
        File.CreateSymbolicLink(scratch["link"], origin);
        Assert.Contains("is the origin itself", Cli.Fails("create", scratch["link"], "--origin", origin, "--force"));
        Assert.Equal(before, Facts(origin));
        Assert.False(File.Exists(scratch["o.cow"]), "nothing was made");
    }

    private static void AssertRefusedThenAccepted(ServedOverlay served, string difference)
    {
        var error = Cli.Fails("serve", served.Overlay, "--nbd", "unix:" + served.Scratch.NewSocket());
        Assert.Contains(served.Origin, error);
        Assert.Contains(difference, error);
        Assert.Contains("--accept-origin", error);
        served.Start("--accept-origin");
        Nbd.QemuIo(served.Uri, "write -P 1 0 4k", "read -P 1 0 4k");
        served.Stop();
        // Accepted once, it is the origin.
        served.Start();
        Nbd.QemuIo(served.Uri, "read -P 1 0 4k");
        served.Stop();
    }

    private static (string Hash, string Times) Facts(string path) =>
        (Scratch.Sha256(path), Tool.Ok("stat", "--format=%s %y %z %a", path));
}
