using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Attach;

/// <summary>
/// The device has the logical sectors of the disk that it is over, for partition tables count in them. The ways by drivers are tested in a
/// guest (tests/guest/attach-sectors).
/// </summary>
public class SectorTests
{
    private const int DiskBytes = 16 << 20;

    [Theory]
    [InlineData(512)]
    [InlineData(2048)]
    [InlineData(4096)]
    public void An_image_shows_its_partitions_in_the_sectors_of_its_table(int sectorBytes)
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["w.cow"], "--origin", Disk(scratch, sectorBytes));
        AssertDevice(attachments, scratch["w.cow"], sectorBytes);
    }

    [Fact]
    public void A_block_device_hands_its_sectors_down()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        using var origin = new LoopDevice(scratch.Sparse("d.img", DiskBytes), sectorBytes: 4096);
        Cli.Ok("create", scratch["w.cow"], "--origin", origin.Path);
        AssertDevice(attachments, scratch["w.cow"], 4096, hasPartitions: false);
        Cli.Ok("create", scratch["s.snap"], "--origin", origin.Path, "--store", "snapshot");
        AssertDevice(attachments, scratch["s.snap"], 4096, hasPartitions: false);
    }

    [Fact]
    public void The_option_of_create_is_remembered_and_that_of_attach_counts_once()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        var origin = scratch.Sparse("d.img", DiskBytes);
        Cli.Ok("create", scratch["w.cow"], "--origin", origin, "--sector-size", "4096");
        AssertDevice(attachments, scratch["w.cow"], 4096, hasPartitions: false);
        Assert.Equal("512\n", Sectors(attachments, scratch["w.cow"], "--sector-size", "512"));
        Cli.Ok("reset", scratch["w.cow"]);
        AssertDevice(attachments, scratch["w.cow"], 4096, hasPartitions: false);
        Cli.Ok("create", scratch["s.snap"], "--origin", origin, "--store", "snapshot", "--sector-size", "2K");
        AssertDevice(attachments, scratch["s.snap"], 2048, hasPartitions: false);
        Cli.Ok("create", scratch["old.cow"], "--origin", Disk(scratch, 4096, "4k.img"), "--sector-size", "512");
        AssertDevice(attachments, scratch["old.cow"], 512, hasPartitions: false);
        Assert.Equal("4096\n", Sectors(attachments, "--origin", scratch["4k.img"]));
    }

    [Fact]
    public void NBD_clients_are_told_and_may_be_asked_for_less()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["w.cow"], "--origin", Disk(scratch, 4096));
        using var server = LincowServer.Start(scratch, scratch["w.cow"]);
        Assert.Contains("\"block_size_minimum\": 4096", Tool.Ok("nbdinfo", "--json", server.Uri));
        Nbd.QemuIo(server.Uri, "write -P 5 8192 512", "read -P 5 8192 512");
        using var client = RawClient.Ready(server.Uri);
        client.Send(RawClient.Request(1, 7, 8192 + 512, 0));
        server.Stop();
    }

    [Theory]
    [InlineData("1000")]
    [InlineData("256")]
    [InlineData("8K")]
    [InlineData("0")]
    public void A_sector_size_that_no_device_has_is_refused(string size)
    {
        using var scratch = new Scratch();
        var origin = scratch.Sparse("d.img", DiskBytes);
        Assert.Contains("--sector-size", Cli.Fails("create", scratch["w.cow"], "--origin", origin, "--sector-size", size));
        Assert.False(File.Exists(scratch["w.cow"]));
        Cli.Ok("create", scratch["w.cow"], "--origin", origin);
        Assert.Contains("--sector-size", Cli.Fails("serve", scratch["w.cow"], "--nbd", "unix:" + scratch["s"], "--sector-size", size));
        Assert.True(Cli.Info(scratch["w.cow"]).Clean);
    }

    [Fact]
    public void A_device_that_is_no_whole_number_of_sectors_has_the_usual_ones_and_is_refused_others()
    {
        using var scratch = new Scratch();
        var origin = Disk(scratch, 4096);
        Cli.Ok("create", scratch["w.cow"], "--origin", origin, "--size", $"{DiskBytes + 512}");
        Assert.Contains("\"sectorSize\": 512", Cli.Ok("info", scratch["w.cow"], "--json"));
        Assert.Contains("multiple",
            Cli.Fails("create", scratch["v.cow"], "--origin", origin, "--size", $"{DiskBytes + 512}", "--sector-size", "4096"));
    }

    [Fact]
    public void Drivers_of_the_kernel_s_have_them_too()
    {
        using var scratch = new Scratch();
        var disk = Disk(scratch, 4096);
        var said = Guest.Run(scratch, new GuestShape(Seconds: 200), ["attach-sectors"], "bash ./attach-sectors /tmp/lincow /dev/vda", disk);
        TestContext.Current.TestOutputHelper?.WriteLine(said);
    }

    private static string Disk(Scratch scratch, int sectorBytes, string name = "disk.img")
    {
        var path = scratch.Sparse(name, DiskBytes);
        PartitionTable.Write(path, sectorBytes, (1024, 1024), (2048, 1000));
        return path;
    }

    private static void AssertDevice(Attachments attachments, string overlay, int sectorBytes, bool hasPartitions = true)
    {
        Assert.Contains($"\"sectorSize\": {sectorBytes}", Cli.Ok("info", overlay, "--json"));
        var device = attachments.Attach(overlay, "--via", "fuse", "--partitions");
        Assert.Equal($"{sectorBytes}\n", Tool.Ok("blockdev", "--getss", device));
        // In units of 512 bytes. Not every kernel looks for partitions itself.
        if (hasPartitions)
            Assert.Equal($"{2 * sectorBytes} {2 * sectorBytes}\n{4 * sectorBytes} {1000 * sectorBytes / 512}\n",
                Tool.Ok("partx", "--noheadings", "--raw", "--output", "START,SECTORS", device));
        attachments.Ok("detach", overlay);
    }

    private static string Sectors(Attachments attachments, params string[] arguments)
    {
        var device = attachments.Attach([.. arguments, "--via", "fuse"]);
        var sectors = Tool.Ok("blockdev", "--getss", device);
        attachments.Ok("detach", device);
        return sectors;
    }
}
