using System.Security.Cryptography;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Conversion;

/// <summary><c>lincow convert</c> from and to COW files of User-mode Linux, judged by its own uml_moo and its own kernel.</summary>
public class UmlTests
{
    private const string Folder = "uml-cow";
    private const int SampleBytes = 16 << 20;

    [Fact]
    public void A_COW_file_that_User_mode_Linux_wrote_reads_as_it_read_it()
    {
        using var scratch = new Scratch();
        var origin = Samples.Origin(scratch, Folder, SampleBytes);
        var store = Samples.Unpack(scratch, Folder + "/written.cow");
        // The path in it is gone, but a file of that name lies beside it.
        Cli.Ok("convert", store, scratch["work.cow"]);
        Assert.Equal(Samples.MergedSha256(Folder),
            Convert.ToHexStringLower(SHA256.HashData(ChangedOverlay.Read(scratch, scratch["work.cow"]))));
        // Back, it is the same file but for the path in it.
        Cli.Ok("convert", scratch["work.cow"], scratch["back.uml"], "--to", "uml");
        var (theirs, ours) = (File.ReadAllBytes(store), File.ReadAllBytes(scratch["back.uml"]));
        Assert.Equal(theirs.Length, ours.Length);
        Assert.True(theirs.AsSpan(0, 32).SequenceEqual(ours.AsSpan(0, 32)), "the headers differ");
        Assert.True(theirs.AsSpan(4128).SequenceEqual(ours.AsSpan(4128)), "bitmap or data differ");
        Assert.Equal(origin, System.Text.Encoding.UTF8.GetString(ours.AsSpan(32, 4096)).TrimEnd('\0'));
    }

    [Theory]
    [InlineData("4K", 4 << 20, 1)]
    [InlineData("512", 3_000_320, 2)]
    [InlineData("1M", 6 << 20, 3)]
    public void What_is_written_is_what_uml_moo_reads(string chunk, int bytes, int seed)
    {
        using var scratch = new Scratch();
        Tool.Find("uml_moo");
        var overlay = new ChangedOverlay(scratch, bytes, chunk, seed);
        Cli.Ok("convert", overlay.Path, scratch["vm.uml"], "--to", "uml");
        Tool.Ok("uml_moo", scratch["vm.uml"], scratch["merged.img"]);
        Assert.Equal(overlay.Content, File.ReadAllBytes(scratch["merged.img"]));
        Cli.Ok("convert", scratch["vm.uml"], scratch["back.cow"], "--chunk", chunk);
        Assert.Equal(overlay.Content, ChangedOverlay.Read(scratch, scratch["back.cow"]));
    }

    [Fact]
    public void The_kernel_of_User_mode_Linux_reads_it_and_writes_to_it()
    {
        using var scratch = new Scratch();
        var share = UserModeLinux.Share(scratch);
        var overlay = new ChangedOverlay(scratch, 4 << 20, "4K", seed: 5);
        Cli.Ok("convert", overlay.Path, scratch["vm.uml"], "--to", "uml");
        var written = Scratch.RandomBytes(300_000, seed: 6);
        File.WriteAllBytes(share + "/written", written);
        UserModeLinux.Run(scratch, """
            cat /dev/ubda >/run/share/read
            dd if=/run/share/written of=/dev/ubda bs=100000 seek=13 conv=fsync status=none
            """, $"{scratch["vm.uml"]},{overlay.Origin}");
        Assert.Equal(overlay.Content, File.ReadAllBytes(share + "/read"));
        Cli.Ok("convert", scratch["vm.uml"], scratch["back.cow"]);
        written.CopyTo(overlay.Content, 1_300_000);
        Assert.Equal(overlay.Content, ChangedOverlay.Read(scratch, scratch["back.cow"]));
    }

    [Fact]
    public void An_origin_that_has_changed_is_refused_until_it_is_accepted()
    {
        using var scratch = new Scratch();
        var origin = Samples.Origin(scratch, Folder, SampleBytes);
        var store = Samples.Unpack(scratch, Folder + "/written.cow");
        File.SetLastWriteTimeUtc(origin, DateTime.UnixEpoch);
        Assert.Contains("--accept-origin", Cli.Fails("convert", store, scratch["work.cow"]));
        Cli.Ok("convert", store, scratch["work.cow"], "--accept-origin");
        // A larger one can't be it.
        using (var file = File.OpenWrite(origin))
            file.SetLength(SampleBytes + 512);
        Assert.Contains("--origin", Cli.Fails("convert", store, scratch["other.cow"], "--accept-origin"));
    }

    [Fact]
    public void A_COW_file_from_elsewhere_opens_no_file_of_this_machine()
    {
        using var scratch = new Scratch();
        var secret = Directory.CreateDirectory(scratch["elsewhere"]).FullName + "/secret.img";
        File.WriteAllBytes(secret, Scratch.RandomBytes(1 << 20, 1));
        var overlay = new ChangedOverlay(scratch, 1 << 20, "4K", seed: 1);
        Cli.Ok("convert", overlay.Path, scratch["vm.uml"], "--to", "uml");
        Scratch.WriteAt(scratch["vm.uml"], 32, [.. System.Text.Encoding.UTF8.GetBytes(secret), 0]);
        Assert.Contains("--origin " + secret, Cli.Fails("convert", scratch["vm.uml"], scratch["new.cow"], "--accept-origin"));
        // Nor does a link beside it lead there.
        File.CreateSymbolicLink(scratch["secret.img"], secret);
        Scratch.WriteAt(scratch["vm.uml"], 32, [.. System.Text.Encoding.UTF8.GetBytes("/nowhere/secret.img"), 0]);
        Assert.Contains("--origin", Cli.Fails("convert", scratch["vm.uml"], scratch["new.cow"], "--accept-origin"));
        Assert.False(File.Exists(scratch["new.cow"]));
        Cli.Ok("convert", scratch["vm.uml"], scratch["new.cow"], "--accept-origin", "--origin", secret);
    }
}
