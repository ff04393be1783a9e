namespace Lincow.Bench.Running;

/// <summary>The programs that run a job under another kernel (tests/guest).</summary>
internal static class Guest
{
    /// <summary>User-mode Linux, as a plain process.</summary>
    public static string UserModeLinux => Find("uml");

    /// <summary>QEMU without virtualization, with Debian 13's kernel.</summary>
    public static string Emulated => Find("run");

    private static string Find(string name) => Environment.GetEnvironmentVariable("LINCOW_GUESTS") is { } directory
        ? Path.Combine(directory, name)
        : throw new BenchException("LINCOW_GUESTS doesn't name the directory of the programs that start guests; ./bench sets it");
}
