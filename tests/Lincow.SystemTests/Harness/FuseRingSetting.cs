using System.Globalization;

namespace Lincow.SystemTests.Harness;

/// <summary>
/// FUSE over io_uring, which the kernel offers to nobody until its module's parameter says so; as it was again after Dispose.
/// </summary>
internal sealed class FuseRingSetting : IDisposable
{
    private const string Parameter = "/sys/module/fuse/parameters/enable_uring";

    private readonly string _before;

    public FuseRingSetting(bool isOn)
    {
        if (!File.Exists(Parameter))
            Tool.Missing("this kernel has no FUSE over io_uring (Linux 6.14)");
        _before = File.ReadAllText(Parameter);
        File.WriteAllText(Parameter, isOn ? "Y" : "N");
    }

    /// <summary>Calls of write and its like by a process: each reply on /dev/fuse is one, a reply over io_uring is none.</summary>
    public static long WriteCalls(int process) =>
        long.Parse(File.ReadLines($"/proc/{process}/io").First(line => line.StartsWith("syscw:", StringComparison.Ordinal)).AsSpan(7),
            CultureInfo.InvariantCulture);

    public void Dispose() => File.WriteAllText(Parameter, _before);
}
