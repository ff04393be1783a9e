using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Damage;

/// <summary>Overlays that are cut off, mixed up, damaged or from the future.</summary>
public class DamageTests
{
    [Fact]
    public void What_is_not_an_overlay_is_refused_by_every_command()
    {
        using var scratch = new Scratch();
        foreach (var path in new[] { scratch.Random("noise", 1 << 20), scratch.Sparse("zeroes", 1 << 20), scratch.Sparse("empty", 0),
            scratch.Random("short", 100) })
        {
            foreach (var command in new[] { "info", "map", "check", "reset" })
                Assert.Contains($"{path}: is not a lincow overlay", Cli.Fails(command, path));
            Assert.Contains($"{path}: is not a lincow overlay", Cli.Fails("serve", path, "--nbd", "unix:" + scratch["s"]));
            Assert.Contains($"{path}: is not a lincow overlay", Cli.Fails("run", path, "--", "true"));
        }
    }

    [Fact]
    public void A_path_that_leads_nowhere_is_refused_by_every_command()
    {
        using var scratch = new Scratch();
        var path = scratch["nowhere"];
        foreach (var command in new[] { "info", "map", "check", "reset" })
            Assert.Contains(path, Cli.Fails(command, path));
        Assert.Contains(path, Cli.Fails("serve", path, "--nbd", "unix:" + scratch["s"]));
        Assert.Contains(scratch.Directory, Cli.Fails("info", scratch.Directory));
        Assert.Contains("/dev/null", Cli.Fails("info", "/dev/null"));
    }

    [Fact]
    public void A_truncated_overlay_is_refused()
    {
        using var served = new ServedOverlay();
        served.Stop();
        Truncate(served.Overlay, -512);
        AssertRefused(served.Scratch, served.Overlay, $"{served.Overlay}: is truncated", isDamage: true);
        var error = Cli.Fails("info", served.Overlay);
        Assert.Contains($"{ServedOverlay.DefaultBytes + (1 << 20)}", error);
    }

    [Fact]
    public void A_truncated_map_is_refused()
    {
        using var scratch = new Scratch();
        var (data, map) = MakeSeparate(scratch, "a");
        Truncate(map, -4096);
        AssertRefused(scratch, data, $"{map}: is truncated", isDamage: true);
    }

    [Fact]
    public void Truncated_data_beside_a_whole_map_is_refused()
    {
        using var scratch = new Scratch();
        var (data, _) = MakeSeparate(scratch, "a");
        Truncate(data, -512);
        AssertRefused(scratch, data, $"{data}: is truncated", isDamage: true);
    }

    [Fact]
    public void A_map_cut_down_to_half_a_superblock_is_refused()
    {
        using var scratch = new Scratch();
        var (data, map) = MakeSeparate(scratch, "a");
        using (var file = File.OpenWrite(map))
            file.SetLength(2048);
        AssertRefused(scratch, data, map, isDamage: true);
    }

    [Fact]
    public void The_map_of_another_overlay_is_refused()
    {
        using var scratch = new Scratch();
        var (data, _) = MakeSeparate(scratch, "a");
        var (_, otherMap) = MakeSeparate(scratch, "b");
        var error = Cli.Fails("serve", data, "--map", otherMap, "--nbd", "unix:" + scratch["s"]);
        Assert.Contains($"{otherMap}: is the wrong map for {data}", error);
        Cli.Fails("serve", data, "--map", otherMap, "--accept-map", "--nbd", "unix:" + scratch["s"]);
        Cli.Fails("reset", data, "--map", otherMap);
        Assert.Equal(1UL, Cli.Info(data).Generation);
    }

    [Fact]
    public void A_map_in_front_is_no_separate_map()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["front.cow"], "--origin", "zero:1M");
        var (data, _) = MakeSeparate(scratch, "a");
        Assert.Contains(scratch["front.cow"], Cli.Fails("info", data, "--map", scratch["front.cow"]));
    }

    [Fact]
    public void A_missing_map_is_named()
    {
        using var scratch = new Scratch();
        var (data, map) = MakeSeparate(scratch, "a");
        File.Delete(map);
        AssertRefused(scratch, data, map);
    }

    [Fact]
    public void Map_and_data_that_were_moved_together_find_each_other()
    {
        using var scratch = new Scratch();
        var (data, map) = MakeSeparate(scratch, "a");
        Directory.CreateDirectory(scratch["new"]);
        File.Move(data, scratch["new/a.img"]);
        File.Move(map, scratch["new/a.map"]);
        Assert.Equal((scratch["new/a.img"], scratch["new/a.map"], 1L), Facts(Cli.Info(scratch["new/a.img"])));
        using (var server = LincowServer.Start(scratch, scratch["new/a.img"]))
        {
            Nbd.QemuIo(server.Uri, "read -P 0x21 0 4k");
            server.Stop();
        }
        Assert.Equal((scratch["new/a.img"], scratch["new/a.map"], 1L), Facts(Cli.Info(scratch["new/a.img"])));

        static (string, string, long) Facts(OverlayFacts facts) => (facts.DataPath, facts.MapPath, facts.Chunks.Data);
    }

    [Fact]
    public void A_guests_own_superblock_in_the_data_does_not_pass_for_the_map()
    {
        using var scratch = new Scratch();
        var (data, map) = MakeSeparate(scratch, "a");
        Cli.Ok("create", scratch["evil.cow"], "--origin", "/etc/passwd", "--size", "1M");
        using (var server = LincowServer.Start(scratch, data))
        {
            Tool.Ok("nbdcopy", Slice(scratch, scratch["evil.cow"], 1 << 20), server.Uri);
            server.Stop();
        }
        Assert.True(Scratch.ReadAt(data, 0, 8).AsSpan().SequenceEqual("LINCOW\r\n"u8),
            "the guest's superblock is where a superblock could be");
        var facts = Cli.Info(data);
        Assert.Equal(("zero:1M", map), (facts.Origin.Uri, facts.MapPath));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void One_damaged_superblock_is_found_by_check_and_mended_by_repair(int slot)
    {
        using var served = new ServedOverlay();
        Nbd.QemuIo(served.Uri, "write -P 0x29 0 64k");
        served.Stop();
        SuperblockPatch.Damage(served.Overlay, slot);
        Assert.Equal(16, Cli.Info(served.Overlay).Chunks.Data);

        var finding = Assert.Single(Cli.Check(served.Overlay, Cli.DamageFound).Findings);
        Assert.Contains($"superblock slot {slot}", finding.Problem);
        Assert.Equal((served.Overlay, slot * 4096L, true, false), (finding.File, finding.Offset, finding.Repairable, finding.Repaired));
        Assert.True(Assert.Single(Cli.Check(served.Overlay, 0, "--repair").Findings).Repaired);
        Assert.Empty(Cli.Check(served.Overlay).Findings);
        Assert.Equal(Scratch.ReadAt(served.Overlay, 0, 4096), Scratch.ReadAt(served.Overlay, 4096, 4096));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void An_overlay_with_one_damaged_superblock_is_served_and_mended(int slot)
    {
        using var served = new ServedOverlay();
        Nbd.QemuIo(served.Uri, "write -P 0x29 0 64k");
        served.Stop();
        SuperblockPatch.Damage(served.Overlay, slot);
        served.Start();
        Nbd.QemuIo(served.Uri, "read -P 0x29 0 64k", "write -P 0x2a 64k 4k");
        served.Stop();
        Assert.Empty(Cli.Check(served.Overlay).Findings);
        Assert.Equal(17, Cli.Info(served.Overlay).Chunks.Data);
    }

    [Fact]
    public void Two_damaged_superblocks_are_refused()
    {
        using var served = new ServedOverlay();
        served.Stop();
        SuperblockPatch.Damage(served.Overlay, 0);
        SuperblockPatch.Damage(served.Overlay, 1);
        AssertRefused(served.Scratch, served.Overlay, $"{served.Overlay}: both superblocks are damaged", isDamage: true);
        Cli.Error(Cli.Run("check", served.Overlay, "--repair"), Cli.DamageFound);
    }

    [Fact]
    public void An_unknown_version_is_refused_by_its_number()
    {
        using var served = new ServedOverlay();
        served.Stop();
        SuperblockPatch.WriteUInt32(served.Overlay, SuperblockPatch.VersionAt, 7);
        AssertRefused(served.Scratch, served.Overlay, "version 7");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(37)]
    [InlineData(63)]
    public void An_unknown_incompatible_feature_is_refused_by_its_bit(int bit)
    {
        using var served = new ServedOverlay();
        served.Stop();
        SuperblockPatch.WriteUInt64(served.Overlay, SuperblockPatch.IncompatibleAt, 1UL << bit);
        AssertRefused(served.Scratch, served.Overlay, $"bit {bit} ");
    }

    [Fact]
    public void An_unknown_read_only_compatible_feature_allows_reading_only()
    {
        using var served = new ServedOverlay();
        Nbd.QemuIo(served.Uri, "write -P 0x30 0 4k");
        served.Stop();
        SuperblockPatch.WriteUInt64(served.Overlay, SuperblockPatch.ReadOnlyCompatibleAt, 1 << 5);
        Assert.Contains("bit 5", Cli.Fails("serve", served.Overlay, "--nbd", "unix:" + served.Scratch.NewSocket()));
        Assert.Contains("bit 5", Cli.Fails("reset", served.Overlay));
        Assert.Equal(1, Cli.Info(served.Overlay).Chunks.Data);
        served.Start("--read-only");
        Nbd.QemuIoReadOnly(served.Uri, "read -P 0x30 0 4k");
        served.Stop();
    }

    [Theory]
    [InlineData(SuperblockPatch.ChunkShiftAt, 60)]
    [InlineData(SuperblockPatch.ChunkShiftAt, 3)]
    [InlineData(SuperblockPatch.DeviceBytesAt, 0)]
    [InlineData(SuperblockPatch.DeviceBytesAt, 1001)]
    public void Impossible_fields_under_a_sound_checksum_are_refused(int fieldAt, int value)
    {
        using var served = new ServedOverlay();
        served.Stop();
        SuperblockPatch.WriteUInt32(served.Overlay, fieldAt, (uint)value);
        AssertRefused(served.Scratch, served.Overlay, served.Overlay, isDamage: true);
    }

    [Fact]
    public void One_damaged_map_page_is_served_from_its_twin_and_mended_by_repair()
    {
        using var served = new ServedOverlay();
        Nbd.QemuIo(served.Uri, "write -P 0x29 0 64k");
        served.Stop();
        var facts = Cli.Info(served.Overlay);
        Scratch.WriteAt(served.Overlay, facts.MapOffset + 100, [0xff, 0xff]);
        var finding = Assert.Single(Cli.Check(served.Overlay, Cli.DamageFound).Findings);
        Assert.Equal((0L, (long)ServedOverlay.DefaultBytes, true), (finding.DeviceStart, finding.DeviceEnd, finding.Repairable));
        served.Start();
        Nbd.QemuIo(served.Uri, "read -P 0x29 0 64k");
        served.Kill();

        Scratch.WriteAt(served.Overlay, facts.MapOffset + 100, [0xff, 0xff]);
        Cli.Check(served.Overlay, 0, "--repair");
        Assert.Empty(Cli.Check(served.Overlay).Findings);
        served.Start();
        Nbd.QemuIo(served.Uri, "read -P 0x29 0 64k");
        served.Stop();
    }

    [Fact]
    public void A_map_page_without_a_sound_twin_is_an_error_for_its_range_alone()
    {
        // 1024 bytes a chunk: a map page covers a bit more than 15 MiB.
        using var served = new ServedOverlay(32 << 20, create: ["--chunk", "1K"]);
        Nbd.QemuIo(served.Uri, "write -P 0x29 0 64k", "write -P 0x2a 31M 64k");
        served.Stop();
        var facts = Cli.Info(served.Overlay);
        Scratch.WriteAt(served.Overlay, facts.MapOffset + 100, [0xff, 0xff]);
        Scratch.WriteAt(served.Overlay, facts.MapOffset + 4096 + 100, [0xff, 0xff]);
        Assert.Single(Cli.Check(served.Overlay, Cli.DamageFound).Findings);
        served.Start();
        Nbd.Script("""
            h = connect(sys.argv[1])
            expect(errno.EIO, h.pread, 4096, 0)
            expect(errno.EIO, h.pwrite, b'x' * 4096, 0)
            expect(errno.EIO, h.trim, 1 << 20, 0)
            check(h.pread(65536, 31 << 20) == b'\x2a' * 65536, 'the sound range')
            h.pwrite(b'x' * 4096, 31 << 20)
            h.flush()
            """, served.Uri);
        served.Stop();
    }

    /// <param name="scratch">For a socket.</param>
    /// <param name="overlay">What every command is given.</param>
    /// <param name="sentence">What every command must say.</param>
    /// <param name="isDamage">It is an overlay, and damaged: check has a status of its own for that.</param>
    private static void AssertRefused(Scratch scratch, string overlay, string sentence, bool isDamage = false)
    {
        foreach (var command in new[] { "info", "map", "reset" })
            Assert.Contains(sentence, Cli.Fails(command, overlay));
        Assert.Contains(sentence, Cli.Error(Cli.Run("check", overlay), isDamage ? Cli.DamageFound : Cli.Failed));
        Assert.Contains(sentence, Cli.Fails("serve", overlay, "--nbd", "unix:" + scratch.NewSocket()));
    }

    /// <summary>An overlay with its map apart, and one chunk in it.</summary>
    private static (string Data, string Map) MakeSeparate(Scratch scratch, string name)
    {
        var (data, map) = (scratch[name + ".img"], scratch[name + ".map"]);
        Cli.Ok("create", data, "--origin", "zero:1M", "--map", map);
        using var server = LincowServer.Start(scratch, data);
        Nbd.QemuIo(server.Uri, "write -P 0x21 0 4k");
        server.Stop();
        return (data, map);
    }

    private static string Slice(Scratch scratch, string path, int bytes)
    {
        File.WriteAllBytes(scratch["slice"], Scratch.ReadAt(path, 0, bytes));
        return scratch["slice"];
    }

    private static void Truncate(string path, long by)
    {
        using var file = File.OpenWrite(path);
        file.SetLength(file.Length + by);
    }
}
