using Lincow.Origins;
using Lincow.Stores;

namespace Lincow.Tests.Engine.Origins;

/// <summary>What a text means as the name of an origin.</summary>
public sealed class OriginReferenceTests
{
    [Fact]
    public void A_text_is_of_the_first_kind_that_knows_it_and_a_path_otherwise()
    {
        Assert.True(OriginReference.Parse("zero:1M").IsNothing);
        Assert.Equal("zero:1048576", OriginReference.Nothing(1 << 20).Text);
        Assert.Equal("user:numbers", OriginReference.Parse("user:numbers").Text);
        Assert.Equal(OriginReference.Program("numbers"), OriginReference.Parse("user:numbers"));
        Assert.Equal("nbd://host/export", OriginReference.Parse("nbd://host/export").Text);
        foreach (var path in new[] { "disk.img", "./zero:1M", "/data/a://b", "1x://b", "a b://c", "://d" })
            Assert.Equal(Path.GetFullPath(path), OriginReference.Parse(path).Text);
        Assert.Equal("", OriginReference.Parse("").Text);
    }

    [Fact]
    public void What_can_t_be_opened_is_refused_by_its_kind()
    {
        Assert.Contains("'nbd' are not there yet", Refusal("nbd://host/export"));
        Assert.Contains("only that program", Refusal("user:numbers"));
        Assert.Contains("does not exist", Refusal("./nbd:x"));
        Assert.Contains("is empty", Refusal(""));
        Assert.Contains("is a directory", Refusal("/"));
    }

    [Fact]
    public void A_file_that_looks_like_an_address_is_a_file()
    {
        // A relative path: nobody's current directory may change meanwhile, so it is one that leads out of it.
        var directory = Directory.CreateTempSubdirectory("lincow-o").FullName;
        try
        {
            var scheme = Directory.CreateDirectory(Path.Combine(directory, "nbd:")).FullName;
            File.WriteAllBytes(Path.Combine(scheme, "disk"), new byte[4096]);
            var up = Path.GetRelativePath(Environment.CurrentDirectory, directory);
            using var origin = StoreOrigin.Open(Path.Combine(up, "nbd://disk"));
            Assert.Equal(Path.Combine(scheme, "disk"), origin.Uri);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static string Refusal(string text) => Assert.Throws<LincowException>(() => StoreOrigin.Open(text)).Message;
}
