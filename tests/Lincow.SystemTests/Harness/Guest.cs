using System.Globalization;

namespace Lincow.SystemTests.Harness;

/// <summary>Debian 13's kernel in QEMU (tests/guest/run), with the binary and scripts of tests/guest.</summary>
internal static class Guest
{
    private static readonly GuestShape Usual = new();

    /// <summary>
    /// Runs lines of bash; the script and lincow are in /tmp, the scratch directory is /run/share, the disks are /dev/vda and so on.
    /// Returns what was printed.
    /// </summary>
    public static string Run(Scratch scratch, string script, string job, params string[] disks) =>
        Run(scratch, Usual, [script], job, disks);

    public static string Run(Scratch scratch, GuestShape shape, string[] scripts, string job, params string[] disks)
    {
        Prepare();
        // The guest has a /tmp of its own, so it can't be sure to find the repository.
        foreach (var script in scripts)
            File.Copy(Cli.InRepository("tests/guest/" + script), scratch[script]);
        File.Copy(Cli.Binary, scratch["lincow"]);
        File.WriteAllText(scratch["job"], $"set -e\ncd /run/share\ncp {string.Join(' ', scripts)} lincow /tmp/\ncd /tmp\n{job}\n");
        var environment = new Dictionary<string, string>
        {
            ["GUEST_SECONDS"] = Number(shape.Seconds),
            ["GUEST_MEGABYTES"] = Number(shape.Megabytes),
            ["GUEST_CPUS"] = Number(shape.Processors),
        };
        var guest = Tool.Run(Cli.InRepository("tests/guest/run"), [scratch.Directory, .. disks], environment,
            TimeSpan.FromSeconds(shape.Seconds + 90));
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

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);
}

/// <summary>What a guest has, and how long it may take.</summary>
internal sealed record GuestShape(int Seconds = 150, int Megabytes = 1024, int Processors = 1);
