using System.Runtime.CompilerServices;

namespace Lincow.SystemTests.Harness;

/// <summary>Jobs under the kernel of User-mode Linux (tests/guest/uml).</summary>
internal static class UserModeLinux
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(170);

    /// <summary>Where the job's files are, which it knows as /run/share: its /tmp is its own.</summary>
    public static string Share(Scratch scratch) => Directory.CreateDirectory(scratch["share"]).FullName;

    /// <summary>Runs a bash script that has to succeed; returns what it printed. In the script, "lincow" is the built binary.</summary>
    /// <param name="disks">As tests/guest/uml takes them.</param>
    public static string Run(Scratch scratch, string script, params string[] disks)
    {
        Tool.Find("linux.uml");
        var share = Share(scratch);
        Directory.CreateDirectory(share + "/bin");
        File.Delete(share + "/bin/lincow");
        // A copy, because the guest's /tmp is its own, except of what needs its neighbours.
        if (File.Exists(Path.ChangeExtension(Cli.Binary, ".dll")))
            File.CreateSymbolicLink(share + "/bin/lincow", Cli.Binary);
        else
            File.Copy(Cli.Binary, share + "/bin/lincow");
        File.WriteAllText(Path.Combine(share, "job"), $"""
            set -euo pipefail
            export PATH=/run/share/bin:$PATH LINCOW_RUN_DIR=/run/lincow XDG_STATE_HOME=/run/state

            """ + script);
        var result = Tool.Run(Script(), [share, .. disks], [], Limit);
        Assert.True(result.ExitCode == 0, result.ToString());
        return result.Output;
    }

    private static string Script([CallerFilePath] string here = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "../../guest/uml"));
}
