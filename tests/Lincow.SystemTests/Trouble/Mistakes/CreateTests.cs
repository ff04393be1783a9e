using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Mistakes;

/// <summary>What create refuses. Each refusal is one line that names the file, exit status 1, and nothing is left behind.</summary>
public class CreateTests
{
    [Fact]
    public void A_missing_origin_is_refused()
    {
        using var scratch = new Scratch();
        var error = AssertRefused(scratch, "--origin", scratch["nowhere.img"]);
        Assert.Contains(scratch["nowhere.img"], error);
        Assert.Contains("does not exist", error);
    }

    [Fact]
    public void A_path_may_begin_with_an_at_sign()
    {
        using var scratch = new Scratch();
        scratch.Random("@origin.img", 1 << 20);
        var said = Tool.Ok("sh", "-ec",
            $"cd {scratch.Directory}; {Cli.Binary} create @o.cow --origin @origin.img --quiet; {Cli.Binary} info @o.cow");
        Assert.Contains(scratch["@origin.img"], said);
        Assert.True(File.Exists(scratch["@o.cow"]));
    }

    [Fact]
    public void An_unreadable_origin_is_refused()
    {
        // Nothing is unreadable for root, so another user asks.
        Tool.RequireRoot();
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 1 << 20);
        File.SetUnixFileMode(origin, UnixFileMode.None);
        Tool.Ok("chmod", "777", scratch.Directory);
        // The repository may lie where that user can't look.
        var binary = scratch["lincow"];
        File.Copy(Cli.Binary, binary);
        Tool.Ok("chmod", "755", binary);
        var result = Tool.Run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary, "create", scratch["o.cow"], "--origin",
            origin);
        var error = Cli.Error(result, Cli.Failed);
        Assert.Contains(origin, error);
        Assert.Contains("permission denied", error, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void An_origin_larger_than_the_device_is_refused()
    {
        using var scratch = new Scratch();
        var error = AssertRefused(scratch, "--origin", scratch.Random("origin.img", 1 << 20), "--size", "512K");
        Assert.Contains($"{1 << 20}", error);
        Assert.Contains("--size", error);
    }

    [Theory]
    [InlineData("/dev/null", "character device")]
    [InlineData("/dev", "directory")]
    [InlineData("FIFO", "pipe")]
    [InlineData("SOCKET", "")]
    [InlineData("", "empty")]
    [InlineData("https://example.com/image", "https")]
    public void What_is_no_file_or_block_device_can_not_be_an_origin(string origin, string reason)
    {
        using var scratch = new Scratch();
        using var socket = new System.Net.Sockets.Socket(System.Net.Sockets.AddressFamily.Unix, System.Net.Sockets.SocketType.Stream,
            System.Net.Sockets.ProtocolType.Unspecified);
        if (origin == "FIFO")
            Tool.Ok("mkfifo", origin = scratch["fifo"]);
        if (origin == "SOCKET")
            socket.Bind(new System.Net.Sockets.UnixDomainSocketEndPoint(origin = scratch["socket"]));
        var error = AssertRefused(scratch, "--origin", origin);
        Assert.Contains(origin, error);
        Assert.Contains(reason, error);
    }

    [Fact]
    public void A_file_in_the_overlays_place_is_kept_without_force()
    {
        using var scratch = new Scratch();
        var taken = scratch.Random("o.cow", 5000, seed: 2);
        Assert.Contains("--force", Cli.Fails("create", taken, "--origin", "zero:1M"));
        Assert.Equal(Scratch.RandomBytes(5000, 2), File.ReadAllBytes(taken));
        Cli.Ok("create", taken, "--origin", "zero:1M", "--force");
        Assert.Equal(1 << 20, Cli.Info(taken).Size);
    }

    [Fact]
    public void An_overlay_in_the_overlays_place_is_kept_without_force()
    {
        using var served = new ServedOverlay();
        Nbd.QemuIo(served.Uri, "write -P 1 0 4k");
        Assert.Contains($"process {served.Server.Id}", Cli.Fails("create", served.Overlay, "--origin", "zero:1M", "--force"));
        served.Stop();
        var error = Cli.Fails("create", served.Overlay, "--origin", "zero:1M");
        Assert.Contains("is an overlay already", error);
        Assert.Equal(1, Cli.Info(served.Overlay).Chunks.Data);
    }

    [Fact]
    public void A_block_device_that_holds_something_is_kept_without_force()
    {
        using var scratch = new Scratch();
        using var loop = new LoopDevice(scratch.Random("disk", 4 << 20));
        Assert.Contains("--force", Cli.Fails("create", loop.Path, "--origin", "zero:1M"));
        Assert.Equal(Scratch.RandomBytes(4 << 20, 1), File.ReadAllBytes(scratch["disk"]));
        Cli.Ok("create", loop.Path, "--origin", "zero:1M", "--force");
        Assert.Equal(0, Cli.Info(loop.Path).Chunks.Data);
    }

    [Fact]
    public void A_block_device_that_is_too_small_is_refused()
    {
        using var scratch = new Scratch();
        using var loop = new LoopDevice(scratch.Sparse("disk", 2 << 20));
        var error = Cli.Fails("create", loop.Path, "--origin", "zero:2M");
        Assert.Contains(loop.Path, error);
        Assert.Contains($"{2 << 20}", error);
    }

    [Theory]
    [InlineData("3000")]
    [InlineData("3K")]
    [InlineData("256")]
    [InlineData("128M")]
    [InlineData("0")]
    public void A_chunk_size_that_is_no_power_of_two_from_512_to_64M_is_refused(string chunk)
    {
        using var scratch = new Scratch();
        Assert.Contains("power of two", AssertRefused(scratch, "--origin", "zero:256M", "--chunk", chunk));
    }

    [Theory]
    [InlineData("zero:0", "no bytes")]
    [InlineData("zero:1000", "multiple of 512")]
    [InlineData("zero:2E", "2^60")]
    public void A_device_of_an_impossible_size_is_refused(string origin, string reason)
    {
        using var scratch = new Scratch();
        Assert.Contains(reason, AssertRefused(scratch, "--origin", origin));
    }

    [Fact]
    public void An_empty_origin_and_an_origin_of_odd_length_need_a_size()
    {
        using var scratch = new Scratch();
        var (empty, odd) = (scratch.Sparse("empty", 0), scratch.Random("odd", 1001));
        Assert.Contains("--size", AssertRefused(scratch, "--origin", empty));
        Assert.Contains("1024", AssertRefused(scratch, "--origin", odd));
        Assert.Contains("no bytes", AssertRefused(scratch, "--origin", empty, "--size", "0"));
        Assert.Contains("multiple of 512", AssertRefused(scratch, "--origin", odd, "--size", "1025"));
        Cli.Ok("create", scratch["o.cow"], "--origin", odd, "--size", "1024");
        using var server = LincowServer.Start(scratch, scratch["o.cow"]);
        Assert.Equal([.. Scratch.RandomBytes(1001, 1), .. new byte[23]], Nbd.ReadAll(scratch, server.Uri));
        server.Stop();
    }

    [Theory]
    [InlineData("--size", "many")]
    [InlineData("--size", "-1")]
    [InlineData("--size", "1.00001K")]
    [InlineData("--size", "99999999999E")]
    [InlineData("--chunk", "4Q")]
    public void A_size_that_is_none_is_wrong_usage(string option, string value)
    {
        using var scratch = new Scratch();
        Assert.Contains(value, Cli.Misused("create", scratch["o.cow"], "--origin", "zero:1M", option, value));
        Assert.False(File.Exists(scratch["o.cow"]));
    }

    [Fact]
    public void A_maximum_below_the_size_is_refused()
    {
        using var scratch = new Scratch();
        Assert.Contains("--max-size", AssertRefused(scratch, "--origin", "zero:2M", "--max-size", "1M"));
    }

    [Fact]
    public void Map_and_overlay_in_one_file_are_refused()
    {
        using var scratch = new Scratch();
        Assert.Contains("--map", AssertRefused(scratch, "--origin", "zero:2M", "--map", scratch["o.cow"]));
    }

    [Fact]
    public void A_directory_that_is_not_there_is_named()
    {
        using var scratch = new Scratch();
        Assert.Contains(scratch["no/o.cow"], Cli.Fails("create", scratch["no/o.cow"], "--origin", "zero:2M"));
    }

    private static string AssertRefused(Scratch scratch, params string[] options)
    {
        var error = Cli.Fails(["create", scratch["o.cow"], .. options]);
        Assert.False(File.Exists(scratch["o.cow"]), "nothing was made");
        return error;
    }

    [Fact]
    public void What_is_refused_with_force_too_has_touched_nothing()
    {
        Tool.RequireRoot();
        using var scratch = new Scratch();
        var before = Scratch.RandomBytes(1 << 20, 5);
        foreach (var name in (string[])["data", "map"])
            File.WriteAllBytes(scratch[name], before);
        Directory.CreateDirectory(scratch["directory"]);
        using var small = new LoopDevice(scratch.Sparse("small", 1 << 20));
        AssertKept("data", "create", scratch["data"], "--map", scratch["directory"], "--origin", "zero:1M", "--force");
        AssertKept("data", "create", scratch["data"], "--map", scratch["data"], "--origin", "zero:1M", "--force");
        AssertKept("data", "create", scratch["data"], "--map", small.Path, "--origin", "zero:1P", "--force");
        AssertKept("map", "create", small.Path, "--map", scratch["map"], "--origin", "zero:2M", "--force");
        AssertKept("data", "create", scratch["data"], "--origin", "zero:1M", "--store", "snapshot", "--store-size", "4K", "--force");
        using (var other = File.Open(scratch["map"], FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
            AssertKept("data", "create", scratch["data"], "--origin", scratch["data"], "--force");

        void AssertKept(string name, params string[] arguments)
        {
            Cli.Fails(arguments);
            Assert.Equal(before, File.ReadAllBytes(scratch[name]));
        }
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    public void An_overlay_is_no_origin_however_it_would_be_read(string store)
    {
        using var scratch = new Scratch();
        scratch.Random("origin.img", 1 << 20);
        Cli.Ok("create", scratch["a.cow"], "--origin", scratch["origin.img"], "--store", store);
        Assert.Contains("is itself a lincow overlay", AssertRefused(scratch, "--origin", scratch["a.cow"]));
        foreach (var cache in (string[])["writeback", "none"])
            Assert.Contains("is itself a lincow overlay",
                Cli.Fails("serve", "--origin", scratch["a.cow"], "--cache", cache, "--nbd", "unix:" + scratch.NewSocket()));
        Assert.Contains("is itself a lincow overlay",
            Cli.Fails("serve", "--snapshot-origin", scratch["a.cow"], scratch["a.cow"], "--nbd", "unix:" + scratch.NewSocket()));
    }
}
