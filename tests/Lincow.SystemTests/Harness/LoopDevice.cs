namespace Lincow.SystemTests.Harness;

/// <summary>A block device over a file.</summary>
internal sealed class LoopDevice : IDisposable
{
    public LoopDevice(string file, int sectorBytes = 512)
    {
        Tool.RequireRoot();
        Path = Tool.Ok("losetup", "--find", "--show", "--sector-size", $"{sectorBytes}", file).Trim();
    }

    public string Path { get; }

    public void Dispose() => Tool.Run("losetup", "--detach", Path);
}
