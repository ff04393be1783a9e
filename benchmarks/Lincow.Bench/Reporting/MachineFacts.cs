using Lincow.Bench.Running;

namespace Lincow.Bench.Reporting;

/// <summary>Where the figures come from. Without it nobody can compare them with others.</summary>
internal sealed record MachineFacts(string Kernel, string Cpu, int Cores, long MemoryMiB, string FileSystem,
    string Nbdkit, string Qemu, string Fio, string Libnbd, string LincowVersion, string LincowCommit)
{
    private const string Unknown = "unknown";

    public static MachineFacts Gather(string directory, string lincow) => new(
        File.ReadAllText("/proc/sys/kernel/osrelease").Trim(),
        ProcField("/proc/cpuinfo", "model name") ?? Unknown,
        Environment.ProcessorCount,
        GC.GetGCMemoryInfo().TotalAvailableMemoryBytes >> 20,
        Tool.Ask("findmnt", "-n", "-r", "-o", "FSTYPE,OPTIONS", "-T", directory) ?? Unknown,
        Tool.Ask("nbdkit", "--version") ?? Unknown,
        Tool.Ask("qemu-nbd", "--version")?.Split('\n')[0] ?? Unknown,
        Tool.Ask("fio", "--version") ?? Unknown,
        Tool.Ask("dpkg-query", "-W", "-f=${Version}", "libnbd0") ?? Unknown,
        Tool.Ask(lincow, "--version") ?? Unknown,
        Commit());

    private static string Commit()
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            if (File.Exists(Path.Combine(directory.FullName, "lincow.slnx")))
                return Tool.Ask("git", "-C", directory.FullName, "describe", "--always", "--dirty") ?? Unknown;
        }
        return Unknown;
    }

    private static string? ProcField(string path, string field) =>
        File.ReadLines(path).FirstOrDefault(line => line.StartsWith(field, StringComparison.Ordinal))?.Split(':', 2)[1].Trim();
}
