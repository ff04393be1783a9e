namespace Lincow.SystemTests.Harness;

/// <summary>
/// A home of a user who isn't root, in a scratch directory, with the binary beside it where that user can run it. Scripts run as root, with
/// mounts of their own: a distribution lets everybody open /dev/fuse; where the node is root's alone, one that isn't takes its place.
/// </summary>
internal sealed class UserHome
{
    private const string Nobody = "65534";

    /// <summary>Before a command: it is this user's.</summary>
    public const string AsUser = $"setpriv --reuid={Nobody} --regid={Nobody} --clear-groups";

    private readonly Scratch _scratch;

    public UserHome(Scratch scratch)
    {
        _scratch = scratch;
        Tool.Find("fusermount3");
        Path = Directory.CreateDirectory(scratch["home"]).FullName;
        File.SetUnixFileMode(scratch.Directory, (UnixFileMode)0b111_101_101);
        File.Copy(Cli.Binary, scratch["lincow"]);
        Tool.Ok("chown", $"{Nobody}:{Nobody}", Path);
    }

    public string Path { get; }

    /// <summary>Runs a script, in which $LINCOW is the binary; asserts exit status 0.</summary>
    public ToolResult Run(string script)
    {
        File.WriteAllText(_scratch["job"], $"""
            mknod -m 666 {_scratch["fuse"]} c 10 229
            mount --bind {_scratch["fuse"]} /dev/fuse
            {script}
            """);
        var result = Tool.Run("unshare", ["--mount", "--propagation", "private", "bash", "-ec", $". {_scratch["job"]}"],
            new() { ["LINCOW_RUN_DIR"] = Path + "/run", ["XDG_STATE_HOME"] = Path, ["LINCOW"] = _scratch["lincow"], ["HOME"] = Path });
        Assert.True(result.ExitCode == 0, result.ToString());
        return result;
    }
}
