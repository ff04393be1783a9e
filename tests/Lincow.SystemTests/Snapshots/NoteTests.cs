using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Snapshots;

/// <summary>
/// A dm-snapshot store names no origin, and lincow's note of it is an extended attribute. Where there are none, that is said when the store
/// is made, and the origin is named each time.
/// </summary>
public class NoteTests
{
    [Fact]
    public void A_file_system_without_extended_attributes_is_said_so_and_the_origin_taken_later()
    {
        Tool.RequireRoot();
        using var scratch = new Scratch();
        var origin = scratch.Random("o.img", 1 << 20);
        Directory.CreateDirectory(scratch["ram"]);
        Tool.Ok("mount", "-t", "ramfs", "ramfs", scratch["ram"]);
        try
        {
            Use(scratch["ram/w.snap"], origin, scratch);
        }
        finally
        {
            Tool.Run("umount", "--lazy", scratch["ram"]);
        }
    }

    [Fact]
    public void A_block_device_is_said_so_and_the_origin_taken_later()
    {
        using var scratch = new Scratch();
        using var device = new LoopDevice(scratch.Sparse("disk.img", 4 << 20));
        Use(device.Path, scratch.Random("o.img", 1 << 20), scratch);
    }

    [Fact]
    public void Where_there_are_attributes_nothing_is_said()
    {
        using var scratch = new Scratch();
        var result = Cli.Run("create", scratch["w.snap"], "--origin", scratch.Random("o.img", 1 << 20), "--store", "snapshot");
        Assert.Equal((0, ""), (result.ExitCode, result.Errors));
        Assert.Contains("\"remembersOrigin\": true", Cli.Ok("info", scratch["w.snap"], "--json"));
    }

    private static void Use(string store, string origin, Scratch scratch)
    {
        var made = Cli.Run("create", store, "--origin", origin, "--store", "snapshot", "--size", "2M");
        Assert.True(made.ExitCode == 0, made.ToString());
        Assert.Contains($"--origin {origin} --size {2 << 20}", made.Errors);
        Assert.Contains($"2 MiB over {origin}", made.Output);
        Assert.Contains("\"remembersOrigin\": false", Cli.Ok("info", store, "--json"));
        Assert.Contains("--origin", Cli.Fails("serve", store, "--nbd", "unix:" + scratch["s"]));
        using (var server = LincowServer.Start(scratch, store, "--origin", origin, "--size", "2M"))
        {
            Nbd.QemuIo(server.Uri, "write -P 5 1M 4k", "flush");
            Assert.Equal($"{2 << 20}\n", Tool.Ok("nbdinfo", "--size", server.Uri));
            server.Stop();
        }
        Assert.Equal(1, Cli.Info(store, "--origin", origin).Chunks.Data);
        // Without the origin the device's end isn't known, and so not judged.
        Cli.Check(store);
        Cli.Ok("run", store, "--no-device", "--origin", origin, "--size", "2M", "--", "sh", "-c",
            "qemu-io -f raw -c 'read -P 5 1M 4k' \"$LINCOW_URI\"");
        Cli.Ok("reset", store);
        Assert.Equal(0, Cli.Info(store, "--origin", origin).Chunks.Data);
    }
}
