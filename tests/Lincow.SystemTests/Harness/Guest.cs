namespace Lincow.SystemTests.Harness;

/// <summary>Debian 13's kernel in QEMU (tests/guest/run), with the binary and a script of tests/guest.</summary>
internal static class Guest
{
    /// <summary>Runs lines of bash; the script and lincow are in /tmp, the scratch directory is /run/share, the disks are /dev/vda and so on. Returns what was printed.</summary>
    public static string Run(Scratch scratch, string script, string job, params string[] disks)
    {
        Prepare();
        // The guest has a /tmp of its own, so it can't be sure to find the repository.
        File.Copy(Cli.InRepository("tests/guest/" + script), scratch[script]);
        File.Copy(Cli.Binary, scratch["lincow"]);
        File.WriteAllText(scratch["job"], $"set -e\ncp /run/share/{script} /run/share/lincow /tmp/\n{job}\n");
        var guest = Tool.Run(Cli.InRepository("tests/guest/run"), [scratch.Directory, .. disks], [], TimeSpan.FromMinutes(4));
        Assert.True(guest.ExitCode == 0, $"{job}\n{guest}");
        return guest.Output;
    }

    private static void Prepare()
    {
        foreach (var tool in new[] { "qemu-system-x86_64", "busybox", "cpio", "depmod", "xz", "dmsetup" })
            Tool.Find(tool);
        var prepared = Tool.Run(Cli.InRepository("tests/guest/prepare"), [], [], TimeSpan.FromMinutes(4));
        if (prepared.ExitCode != 0)
            Tool.Missing($"the guest's kernel can't be had: {prepared.Errors}");
    }
}
