using System.Text.Json;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary>Commands that take several overlays: all are done, and what failed is said once.</summary>
public class SeveralTests
{
    [Theory]
    [InlineData("info")]
    [InlineData("check")]
    [InlineData("reset")]
    public void One_overlay_is_a_document_and_several_are_an_array(string command)
    {
        using var scratch = new Scratch();
        var (a, b) = Make(scratch);
        using (var one = JsonDocument.Parse(Cli.Ok(command, a, "--json")))
            Assert.Equal(a, one.RootElement.GetProperty("overlay").GetString());
        using (var two = JsonDocument.Parse(Cli.Ok(command, a, b, "--json")))
            Assert.Equal([a, b], two.RootElement.EnumerateArray().Select(each => each.GetProperty("overlay").GetString()));
        var text = Cli.Ok(command, a, b);
        Assert.Contains(a, text);
        Assert.Contains(b, text);
        // One that fails keeps nobody from the rest, and is said in one line.
        var result = Cli.Run(command, a, scratch["missing.cow"], b, "--json");
        Assert.Contains("missing.cow", Cli.Error(result, Cli.Failed));
        using var left = JsonDocument.Parse(result.Output);
        Assert.Equal([a, b], left.RootElement.EnumerateArray().Select(each => each.GetProperty("overlay").GetString()));
        Assert.Contains("--map", Cli.Misused(command, a, b, "--map", scratch["m"]));
    }

    [Fact]
    public void Damage_counts_more_than_what_could_not_be_looked_at()
    {
        using var scratch = new Scratch();
        var (a, b) = Make(scratch);
        Scratch.WriteAt(a, 64, [1, 2, 3, 4, 5, 6, 7, 8]);
        var result = Cli.Run("check", a, scratch["missing.cow"], b);
        Assert.Contains("missing.cow", Cli.Error(result, Cli.DamageFound));
        Assert.Contains($"{b}: ", result.Output);
        // Both superblocks: it can't be opened.
        Scratch.WriteAt(a, 4096 + 64, [1, 2, 3, 4, 5, 6, 7, 8]);
        Cli.Error(Cli.Run("check", a, b), Cli.DamageFound);
    }

    [Fact]
    public void A_fresh_overlay_has_been_checked()
    {
        using var scratch = new Scratch();
        var (a, _) = Make(scratch);
        Cli.Ok("create", scratch["s"], "--origin", "zero:1M", "--store", "snapshot");
        foreach (var fresh in new[] { a, scratch["s"] })
        {
            var said = Cli.Ok("check", fresh);
            Assert.Contains("no damage", said);
            Assert.DoesNotContain(" 0 ", said);
        }
    }

    private static (string A, string B) Make(Scratch scratch)
    {
        foreach (var name in new[] { "a.cow", "b.cow" })
            Cli.Ok("create", scratch[name], "--origin", "zero:1M");
        return (scratch["a.cow"], scratch["b.cow"]);
    }
}
