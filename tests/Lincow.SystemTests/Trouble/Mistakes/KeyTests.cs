using System.Globalization;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Mistakes;

/// <summary>Whatever keeps an overlay from being known as one's own is said as what it is.</summary>
public class KeyTests
{
    [Fact]
    public void A_key_that_can_t_be_kept_is_said_when_the_overlay_is_made()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin", 64 << 10);
        // No directory can be made below a file.
        var environment = new Dictionary<string, string> { ["XDG_STATE_HOME"] = origin };
        var made = Tool.Run(Cli.Binary, ["create", scratch["a.cow"], "--origin", origin], environment);
        Assert.Equal(0, made.ExitCode);
        Assert.Contains("XDG_STATE_HOME", made.Errors);
        Assert.Contains(Path.Combine(origin, "lincow/key"), made.Errors);
        Assert.Empty(Tool.Run(Cli.Binary, ["create", scratch["b.cow"], "--origin", origin, "--quiet"], environment).Errors);
        // Nothing is to be followed there.
        Assert.Empty(Tool.Run(Cli.Binary, ["create", scratch["c.cow"], "--origin", "zero:1M"], environment).Errors);
        Assert.Contains("made where no key could be kept", Cli.Fails("map", scratch["a.cow"]));
    }

    [Fact]
    public void Another_place_for_keys_is_named()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin", 64 << 10);
        Cli.Ok("create", scratch["a.cow"], "--origin", origin);
        var elsewhere = new Dictionary<string, string> { ["XDG_STATE_HOME"] = scratch["state"] };
        var key = scratch["state/lincow/key"];
        Assert.Contains($"there is no key {key}", Cli.Error(Tool.Run(Cli.Binary, ["map", scratch["a.cow"]], elsewhere), Cli.Failed));
        Tool.Run(Cli.Binary, ["create", scratch["b.cow"], "--origin", origin], elsewhere);
        Assert.Contains($"another key then than {key}", Cli.Error(Tool.Run(Cli.Binary, ["map", scratch["a.cow"]], elsewhere), Cli.Failed));
    }

    /// <summary>At each limit it works, or says that there are no descriptors.</summary>
    [Fact]
    public void A_lack_of_descriptors_is_no_stranger()
    {
        Tool.Find("prlimit");
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["a.cow"], "--origin", scratch.Random("origin", 64 << 10));
        for (var limit = 8; limit < 160; limit++)
        {
            var text = limit.ToString(CultureInfo.InvariantCulture);
            var result = Tool.Run("prlimit", [$"--nofile={text}:{text}", Cli.Binary, "map", scratch["a.cow"]]);
            Assert.DoesNotContain("as its origin, but", result.Errors);
            if (result.ExitCode == 0)
                return;
        }
        Assert.Fail("no limit is enough");
    }

    [Fact]
    public void The_limit_of_descriptors_is_raised_and_a_command_has_its_own()
    {
        using var scratch = new Scratch();
        var said = Tool.Ok("sh", "-c",
            "ulimit -Sn 333; exec \"$0\" run --no-device --origin zero:1M -- sh -c 'ulimit -Sn; ulimit -Hn; grep \"open files\" "
                + "/proc/$PPID/limits'", Cli.Binary).Split('\n');
        // Max open files 1048576 1048576 files
        var limits = said[2].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal((said[1], said[1]), (limits[3], limits[4]));
        // Outside of the native binary the runtime raises it before anybody can ask what it was.
        if (!File.Exists(Cli.Binary + ".dll"))
            Assert.Equal("333", said[0]);
    }

    /// <summary>Root uses a user's overlay, and the user goes on with it.</summary>
    [Fact]
    public void Who_is_lent_an_overlay_doesn_t_lock_its_owner_out()
    {
        Tool.RequireRoot();
        using var scratch = new Scratch();
        var origin = scratch.Random("origin", 64 << 10);
        var owner = new Dictionary<string, string> { ["XDG_STATE_HOME"] = scratch["state"] };
        foreach (var store in new[] { "linear", "snapshot" })
        {
            var overlay = scratch[store];
            Cli.Ok(owner, "create", overlay, "--origin", origin, "--store", store);
            Tool.Ok("chown", "65534", overlay);
            var refused = Cli.Fails("run", overlay, "--no-device", "--", "true");
            Assert.Contains("belongs to the user nobody", refused);
            Assert.Contains("--origin", refused);
            Cli.Ok("run", overlay, "--no-device", "--origin", origin, "--", "true");
            Cli.Ok(owner, "map", overlay);
            Cli.Ok(owner, "run", overlay, "--no-device", "--", "true");
        }
    }
}
