using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Guides;

/// <summary>samples/ compile, are short, and do what they say. The decrypting origin has its test where live origins have theirs.</summary>
public class SampleTests
{
    [Theory]
    [InlineData("open-read-write.cs")]
    [InlineData("serve.cs")]
    public void It_has_fewer_than_30_lines(string sample) =>
        Assert.InRange(File.ReadLines(Cli.InRepository("samples/" + sample)).Count(), 1, 29);

    [Fact]
    public void It_opens_reads_and_writes()
    {
        using var scratch = new Scratch();
        var (image, overlay) = (scratch["golden.img"], scratch["work.cow"]);
        File.WriteAllBytes(image, new byte[1 << 20]);
        var sample = Cli.InRepository("samples/open-read-write.cs");
        var said = Tool.Ok("dotnet", "run", sample, "--", image, overlay);
        Assert.Contains("hello, overlay", said, StringComparison.Ordinal);
        Assert.Contains("Data", said, StringComparison.Ordinal);
        Assert.Equal(new byte[1 << 20], File.ReadAllBytes(image));
        Assert.Equal(1, Cli.Info(overlay).Chunks.Data);
    }

    [Fact]
    public void It_serves()
    {
        using var scratch = new Scratch();
        var (image, overlay, socket) = (scratch["golden.img"], scratch["work.cow"], scratch.NewSocket());
        File.WriteAllBytes(image, new byte[1 << 20]);
        Cli.Ok("create", overlay, "--origin", image);
        var sample = Cli.InRepository("samples/serve.cs");
        Tool.Ok("dotnet", "build", sample);
        using var server = Surroundings.Start(new System.Diagnostics.ProcessStartInfo("dotnet",
            ["run", "--no-build", sample, "--", overlay, socket])
        { RedirectStandardOutput = true });
        try
        {
            var uri = server.StandardOutput.ReadLine()?["ready ".Length..] ?? throw new InvalidOperationException("the sample ended");
            Nbd.QemuIo(uri, "write -P 3 4000 9000", "read -P 3 4000 9000");
        }
        finally
        {
            server.Kill(entireProcessTree: true);
            server.WaitForExit();
        }
    }
}
