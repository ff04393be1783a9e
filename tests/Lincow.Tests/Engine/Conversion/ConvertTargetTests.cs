using System.Text;
using Lincow.Conversion;

namespace Lincow.Tests.Engine.Conversion;

/// <summary>The name under which a conversion is written until it is complete.</summary>
public class ConvertTargetTests
{
    [Theory]
    [InlineData("a", 1)]
    [InlineData("a", 243)]
    [InlineData("a", 244)]
    [InlineData("a", 255)]
    [InlineData("ü", 127)]
    [InlineData("€", 85)]
    [InlineData("\U0001F4BE", 63)]
    public void A_name_fits_a_directory_entry(string character, int count)
    {
        var name = string.Concat(Enumerable.Repeat(character, count));
        var work = ConvertTarget.WorkName(name);
        Assert.InRange(Encoding.UTF8.GetByteCount(work), 1, 255);
        Assert.DoesNotContain('\uFFFD', work);
        Assert.StartsWith("." + character, work);
        Assert.Equal(work, ConvertTarget.WorkName(name));
        Assert.NotEqual(work, ConvertTarget.WorkName(name + "b"));
    }
}
