using System.Text.Json;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Failures;

/// <summary>The file system below an overlay is full: status says it, and a guest can be had to wait for room.</summary>
public class FullDiskTests
{
    private static readonly string[] Waiting = ["--on-full", "wait"];

    private static JsonElement Counters(string overlay) =>
        JsonDocument.Parse(Cli.Ok("status", overlay, "--json")).RootElement[0].GetProperty("counters").Clone();

    private static string Overlay(SmallDisk disk, string name)
    {
        var overlay = Path.Combine(disk.Path, name);
        Cli.Ok("create", overlay, "--origin", "zero:64M");
        return overlay;
    }

    [Fact]
    public void Status_says_since_when_there_is_no_room_and_what_it_cost()
    {
        using var scratch = new Scratch();
        using var disk = new SmallDisk(scratch, 32);
        var overlay = Overlay(disk, "o.cow");
        using var server = LincowServer.Start(scratch, overlay);
        Nbd.QemuIo(server.Uri, "write -P 1 0 1M", "flush");
        Assert.Equal(JsonValueKind.Null, Counters(overlay).GetProperty("fullSince").ValueKind);
        disk.Fill(0);
        Nbd.Script("""
            h = connect(sys.argv[1])
            for i in range(20):
                expect(errno.ENOSPC, h.pwrite, b'x' * 65536, (8 + i) << 20)
            """, server.Uri);
        var counters = Counters(overlay);
        Assert.Equal((20, 20), (counters.GetProperty("writeErrors").GetInt32(), counters.GetProperty("refusedForRoom").GetInt32()));
        Assert.True(DateTimeOffset.Now - counters.GetProperty("fullSince").GetDateTimeOffset() < Tool.Timeout);
        Assert.Contains("20 writes and 0 flushes failed, 20 of them for want of room\n  FULL: ", Cli.Ok("status", overlay));
        disk.MakeRoom();
        Nbd.QemuIo(server.Uri, "write -P 1 8M 1M", "flush");
        Assert.Equal(JsonValueKind.Null, Counters(overlay).GetProperty("fullSince").ValueKind);
        server.Stop();
        Assert.Equal(10, server.Errors.Split('\n').Count(line => line.Contains("there is no room for a write", StringComparison.Ordinal)));
    }

    [Fact]
    public void A_guest_that_waits_goes_on_when_there_is_room_and_others_never_stop()
    {
        using var scratch = new Scratch();
        using var disk = new SmallDisk(scratch, 32);
        var (overlay, other) = (Overlay(disk, "o.cow"), Overlay(disk, "p.cow"));
        using var server = LincowServer.Start([overlay, other, .. Waiting, "--nbd", "unix:" + scratch.NewSocket()], 2);
        Nbd.QemuIo(server.Uris[0], "write -P 1 0 1M", "flush");
        Nbd.QemuIo(server.Uris[1], "write -P 2 0 1M", "flush");
        disk.Fill(0);
        using var guest = Nbd.StartScript("""
            h = connect(sys.argv[1])
            for i in range(8):
                h.pwrite(b'w' * (1 << 20), (8 + i) << 20)
            h.flush()
            for i in range(8):
                check(h.pread(1 << 20, (8 + i) << 20) == b'w' * (1 << 20), 'what waited')
            print('done', flush=True)
            """, server.Uris[0]);
        // On the full disk: until the guest's write has been refused and waits.
        while (Counters(overlay).GetProperty("waitingForRoom").GetInt32() == 0)
            Thread.Sleep(20);
        Assert.Contains("writes wait for some\n", Cli.Ok("status", overlay));
        Nbd.QemuIo(server.Uris[0], "read -P 1 0 1M", "write -P 3 0 4k", "flush");
        Nbd.QemuIo(server.Uris[1], "read -P 2 0 1M", "write -P 4 0 4k", "flush");
        Assert.False(guest.HasExited);
        disk.MakeRoom();
        Assert.Equal("done", guest.StandardOutput.ReadLine());
        Assert.True(guest.WaitForExit(Tool.Timeout));
        Assert.Equal(0, guest.ExitCode);
        var counters = Counters(overlay);
        Assert.Equal((0, 0, JsonValueKind.Null), (counters.GetProperty("waitingForRoom").GetInt32(),
            counters.GetProperty("writeErrors").GetInt32(), counters.GetProperty("fullSince").ValueKind));
        server.Stop();
        Assert.Empty(Cli.Check(overlay).Findings);
    }

    [Fact]
    public void The_end_and_a_reset_end_the_wait()
    {
        using var scratch = new Scratch();
        using var disk = new SmallDisk(scratch, 32);
        var overlay = Overlay(disk, "o.cow");
        using var server = LincowServer.Start([overlay, .. Waiting, "--nbd", "unix:" + scratch.NewSocket()]);
        Nbd.QemuIo(server.Uri, "write -P 1 0 1M", "flush");
        disk.Fill(0);
        const string write = "expect(errno.ENOSPC, connect(sys.argv[1]).pwrite, b'w' * 65536, 8 << 20)";
        foreach (var end in new Action[] { () => Cli.Ok("reset", overlay, "--quiet"), server.Stop })
        {
            using var guest = Nbd.StartScript(write, server.Uri);
            while (Counters(overlay).GetProperty("waitingForRoom").GetInt32() == 0)
                Thread.Sleep(20);
            end();
            Assert.True(guest.WaitForExit(Tool.Timeout));
            Assert.True(guest.ExitCode == 0, guest.StandardError.ReadToEnd());
            // The reset gave room; it is taken again.
            if (server.IsRunning)
                disk.FillMore();
        }
    }
}
