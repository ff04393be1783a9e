using System.Text;
using Lincow.Serving.Attach;

namespace Lincow.Tests.Serving.Attach;

/// <summary>Whatever an export is called, its link and file have names that can be.</summary>
public class AttachNameTests
{
    [Theory]
    [InlineData("work", "work")]
    [InlineData("two words", "two words")]
    [InlineData("Müller", "Müller")]
    [InlineData("a/b", "a_b")]
    [InlineData("a\nb\u0085c", "a_b_c")]
    [InlineData("", "overlay")]
    [InlineData(".", "overlay")]
    [InlineData("..", "overlay")]
    [InlineData("...", "...")]
    public void A_name_is_a_files(string export, string name) => Assert.Equal(name, AttachName.Of(export));

    [Theory]
    [InlineData("a", 300, 245)]
    [InlineData("ü", 255, 244)]
    [InlineData("\U0001F4BE", 100, 244)]
    public void A_long_name_is_cut_between_characters(string character, int count, int bytes)
    {
        var name = AttachName.Of(string.Concat(Enumerable.Repeat(character, count)));
        Assert.Equal(bytes, Encoding.UTF8.GetByteCount(name));
        Assert.Empty(name.Replace(character, "", StringComparison.Ordinal));
    }
}
