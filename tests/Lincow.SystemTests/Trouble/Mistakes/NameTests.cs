using System.Globalization;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Mistakes;

/// <summary>
/// Names that aren't UTF-8 are refused in a sentence that says so, and nothing is made, or opened, by another name. Names with blanks, line
/// feeds and other control characters are names.
/// </summary>
public class NameTests
{
    private const string Umlaut = "$(printf 'M\\374ller')", Shown = "M\\xfcller";

    [Theory]
    [InlineData("create w.cow --origin " + Umlaut + ".img")]
    [InlineData("create " + Umlaut + ".cow --origin o.img")]
    [InlineData("create " + Umlaut + "/w.cow --origin o.img")]
    [InlineData("create w2.cow --origin o.img --map " + Umlaut)]
    [InlineData("create --table \"0 128 cow o.img " + Umlaut + " P 8\"")]
    [InlineData("info " + Umlaut)]
    [InlineData("serve w.cow --nbd unix:" + Umlaut)]
    [InlineData("serve --origin o.img --overlay " + Umlaut + " --nbd unix:s")]
    [InlineData("attach w.cow --name " + Umlaut)]
    [InlineData("convert w.cow " + Umlaut + " --to snapshot")]
    [InlineData("map w.cow --image " + Umlaut + ".svg")]
    [InlineData("run --origin o.img -- touch " + Umlaut)]
    [InlineData("status " + Umlaut)]
    public void An_argument_that_is_not_utf8_is_refused(string arguments)
    {
        using var scratch = Place();
        AssertRefused(scratch, $"exec lincow {arguments}", Shown);
    }

    [Theory]
    // In the file's place, or the directory's, lies what the text with U+FFFD would lead to.
    [InlineData("M\uFFFDller.cow")]
    [InlineData("M\uFFFDller.img")]
    public void The_file_of_the_name_that_was_made_of_it_is_left_alone(string name)
    {
        using var scratch = Place();
        File.WriteAllText(scratch[name], "somebody else's");
        AssertRefused(scratch, $"exec lincow create {Umlaut}.cow --origin {Umlaut}.img --force", Shown);
        Assert.Equal("somebody else's", File.ReadAllText(scratch[name]));
        // What has that very name is a file like any other.
        Assert.Contains("created", In(scratch, $"exec lincow create n.cow --origin zero:1M && exec lincow info n.cow").Output);
    }

    [Fact]
    public void A_name_with_the_character_that_broken_conversions_leave_is_a_name()
    {
        using var scratch = Place();
        Cli.Ok("create", scratch["M\uFFFDller.cow"], "--origin", scratch.Random("M\uFFFDller.img", 1 << 16));
        Assert.Equal(scratch["M\uFFFDller.img"], Cli.Info(scratch["M\uFFFDller.cow"]).Origin.Uri);
    }

    [Fact]
    public void A_current_directory_that_is_not_utf8_is_refused()
    {
        using var scratch = Place();
        Directory.CreateDirectory(scratch["M\uFFFDller"]);
        foreach (var command in (string[])["create w2.cow --origin zero:1M", "info ../w.cow", $"reset {scratch["w.cow"]}"])
            AssertRefused(scratch, $"mkdir {Umlaut}; cd {Umlaut}; lincow {command} && s=0 || s=$?; cd ..; rmdir {Umlaut}; exit $s", Shown);
        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch["M\uFFFDller"]));
        // What is found in records is found from there as well.
        var other = In(scratch, $"mkdir {Umlaut}; cd {Umlaut}; lincow status && lincow --version; s=$?; cd ..; rmdir {Umlaut}; exit $s");
        Assert.True(other.ExitCode == 0, other.ToString());
    }

    [Theory]
    [InlineData("TMPDIR")]
    [InlineData("LINCOW_RUN_DIR")]
    [InlineData("XDG_RUNTIME_DIR")]
    [InlineData("XDG_STATE_HOME")]
    public void A_variable_that_is_not_utf8_is_refused(string variable)
    {
        using var scratch = Place();
        AssertRefused(scratch, $"exec env {variable}=$PWD/{Umlaut} lincow create w2.cow --origin zero:1M", variable);
    }

    [Fact]
    public void What_the_command_of_run_gets_changed_is_said()
    {
        using var scratch = Place();
        var result = In(scratch, $"exec env LABEL={Umlaut} lincow run --no-device --origin o.img -- true");
        Assert.True(result.ExitCode == 0, result.ToString());
        Assert.Contains("LABEL", result.Errors);
    }

    [Fact]
    public void An_origin_that_another_programs_file_names_is_followed_by_that_name_only()
    {
        using var scratch = Place();
        // The header of a COW file of User-mode Linux, version 3: magic, version, time, size of sectors and alignment, bitmap, name.
        var header = new byte[1 << 16];
        Convert.FromHexString("4f4f4f4d00000003").CopyTo(header, 0);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(header.AsSpan(12), 65536);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(20), 512);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(24), 4096);
        byte[] name = [.. "M"u8, 0xfc, .. "ller.img"u8];
        name.CopyTo(header, 32);
        File.WriteAllBytes(scratch["u.cow"], header);
        scratch.Random("M\uFFFDller.img", 1 << 16);
        var error = Cli.Fails("convert", scratch["u.cow"], scratch["l.cow"], "--to", "linear");
        Assert.Contains("UTF-8", error);
        Assert.Contains("--origin", error);
        Assert.False(File.Exists(scratch["l.cow"]));
    }

    [Theory]
    [InlineData("two words")]
    [InlineData("a\nb")]
    [InlineData("a\rb")]
    [InlineData("a\tb")]
    [InlineData("a\u001b[31mb")]
    [InlineData("a,b\\c;d\"e'f")]
    [InlineData("Müller")]
    public void A_name_of_any_characters_is_attached_and_detached(string name)
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        var (overlay, origin) = (scratch[name + ".cow"], scratch.Random(name + ".img", 1 << 20));
        Assert.DoesNotContain('\u001b', Cli.Ok("create", overlay, "--origin", origin));
        Assert.Equal(origin, Cli.Info(overlay).Origin.Uri);
        var device = attachments.Attach(overlay, "--via", "fuse");
        var status = Assert.Single(attachments.Status(overlay));
        Assert.Equal((overlay, device), (status.Overlay, status.Device));
        Assert.DoesNotContain(status.File!, char.IsControl);
        attachments.Ok("detach", overlay);
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void A_run_directory_with_a_line_feed_in_its_name_is_refused_before_anything_is_attached()
    {
        using var attachments = new Attachments("run\nof mine");
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["w.cow"], "--origin", scratch.Random("o.img", 1 << 20));
        Assert.Contains("control character", attachments.Fails("attach", scratch["w.cow"]));
        attachments.Environment.Remove("LINCOW_RUN_DIR");
        Assert.True(Cli.Info(scratch["w.cow"]).Clean);
    }

    private static Scratch Place()
    {
        var scratch = new Scratch();
        Cli.Ok("create", scratch["w.cow"], "--origin", scratch.Random("o.img", 1 << 16));
        return scratch;
    }

    private static void AssertRefused(Scratch scratch, string script, string named)
    {
        var before = Everything(scratch);
        var error = Cli.Error(In(scratch, script), Cli.Failed);
        Assert.Contains("UTF-8", error);
        Assert.Contains(named, error);
        Assert.DoesNotContain("exist", error);
        Assert.Equal(before, Everything(scratch));
    }

    private static List<string> Everything(Scratch scratch) =>
        [.. Directory.EnumerateFileSystemEntries(scratch.Directory, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)];

    // A shell says the bytes, and starts lincow by its path.
    private static ToolResult In(Scratch scratch, string script) =>
        Tool.Run("sh", "-c", string.Create(CultureInfo.InvariantCulture,
            $"cd '{scratch.Directory}'; {script.Replace("lincow ", $"'{Cli.Binary}' ", StringComparison.Ordinal)}"));
}
