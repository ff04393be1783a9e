using System.Text;
using Lincow.Linux;

namespace Lincow.Tests.Linux.Files;

/// <summary>What isn't UTF-8 is found, and shown so that it can be read.</summary>
public class NamesOfBytesTests
{
    [Theory]
    [InlineData("4d fc 6c 6c 65 72", "M\\xfcller")]
    [InlineData("ff", "\\xff")]
    // Cut off, overlong, a surrogate, beyond the last character.
    [InlineData("61 c3", "a\\xc3")]
    [InlineData("c0 af", "\\xc0\\xaf")]
    [InlineData("ed a0 80", "\\xed\\xa0\\x80")]
    [InlineData("f4 90 80 80", "\\xf4\\x90\\x80\\x80")]
    [InlineData("c3 a4 e9", "ä\\xe9")]
    public void What_is_no_utf8_is_shown_by_its_bytes(string bytes, string shown) =>
        Assert.Equal(shown, NamesOfBytes.Read(Convert.FromHexString(bytes.Replace(" ", "", StringComparison.Ordinal))));

    [Theory]
    [InlineData("")]
    [InlineData("Müller.img")]
    // What a broken conversion left is a character, and a name.
    [InlineData("M\uFFFDller.img")]
    public void What_is_utf8_is_nothing_to_be_shown(string name) => Assert.Null(NamesOfBytes.Read(Encoding.UTF8.GetBytes(name)));

    [Fact]
    public void This_process_has_no_wrong_names()
    {
        Assert.Null(NamesOfBytes.WrongArgument(["M\uFFFDller.img"]));
        Assert.Null(NamesOfBytes.WrongCurrentDirectory());
        Assert.Null(NamesOfBytes.WrongVariable("PATH"));
    }
}
