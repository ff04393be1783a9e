using System.Globalization;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Mistakes;

/// <summary>What attach and detach can't do, in a sentence that says why.</summary>
public class AttachMistakeTests
{
    [Fact]
    public void What_is_served_is_not_detached_and_its_process_is_named()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["w.cow"], "--origin", scratch.Random("o.img", 1 << 20));
        using var server = LincowServer.Start(scratch, scratch["w.cow"]);
        var error = Cli.Fails("detach", scratch["w.cow"]);
        Assert.Contains("without being attached", error);
        Assert.Contains(string.Create(CultureInfo.InvariantCulture, $"kill {server.Id}"), error);
        Assert.True(server.IsRunning);
        server.Stop();
    }

    [Theory]
    // A file, and another device.
    [InlineData("$PWD/file")]
    [InlineData("/dev/null")]
    public void A_fuse_device_that_is_none_is_named(string instead)
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        File.WriteAllText(scratch["file"], "");
        Cli.Ok("create", scratch["w.cow"], "--origin", scratch.Random("o.img", 1 << 20));
        var result = Tool.Run("unshare", ["-m", "sh", "-ec",
            $"cd {scratch.Directory}; mount --bind {instead} /dev/fuse; exec {Cli.Binary} attach w.cow --via fuse"],
            attachments.Environment);
        var error = Cli.Error(result, Cli.Failed);
        Assert.Contains("/dev/fuse is not the kernel's FUSE device", error);
        Assert.Contains("mknod /dev/fuse c 10 229", error);
    }

    [Theory]
    [InlineData("a/b")]
    [InlineData("..")]
    [InlineData("a\nb")]
    public void A_name_that_is_no_files_is_refused(string name)
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["w.cow"], "--origin", scratch.Random("o.img", 1 << 20));
        Assert.Contains("--name", Cli.Misused("attach", scratch["w.cow"], "--name", name));
        Cli.Misused("attach", scratch["w.cow"], "--name", new string('n', 246));
    }
}
