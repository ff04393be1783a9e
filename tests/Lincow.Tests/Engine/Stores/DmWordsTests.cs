using Lincow.Stores;

namespace Lincow.Tests.Engine.Stores;

/// <summary>The words of device-mapper tables.</summary>
public class DmWordsTests
{
    [Theory]
    [InlineData("0 8  cow\ta b", "0|8|cow|a|b")]
    [InlineData(@"two\ words one", "two words|one")]
    [InlineData(@"a\\b c", @"a\b|c")]
    [InlineData(@"a\b", "ab")]
    [InlineData(@"a\", @"a\")]
    [InlineData("", "")]
    // No blank to the kernel.
    [InlineData("a\u00a0b", "a\u00a0b")]
    public void Words_are_parted_as_the_kernel_does(string line, string words) =>
        Assert.Equal(words, string.Join('|', DmWords.Split(line)));

    [Theory]
    [InlineData("two words")]
    [InlineData("a\tb\nc")]
    [InlineData(@"a\b \ ")]
    [InlineData("Müller")]
    public void What_is_written_is_read_again(string word) =>
        Assert.Equal(["0", word, "8"], DmWords.Split($"0 {DmWords.Escape(word)} 8"));
}
