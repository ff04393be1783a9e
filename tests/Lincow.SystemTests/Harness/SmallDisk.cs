namespace Lincow.SystemTests.Harness;

/// <summary>A mounted ext4 file system that is soon full.</summary>
internal sealed class SmallDisk : IDisposable
{
    public SmallDisk(Scratch scratch, int mebibytes)
    {
        Tool.RequireRoot();
        var image = scratch.Sparse("disk.img", (long)mebibytes << 20);
        // No blocks set aside for root, who runs the tests.
        Tool.Ok("mkfs.ext4", "-q", "-m", "0", "-b", "4096", "-O", "^has_journal", image);
        Path = scratch["disk"];
        Directory.CreateDirectory(Path);
        var mounted = Tool.Run("mount", "-o", "loop", image, Path);
        if (mounted.ExitCode != 0)
            Tool.Missing($"mounting is not allowed here: {mounted.Errors}");
    }

    public string Path { get; }

    private string Filler => System.IO.Path.Combine(Path, "filler");

    public long FreeBytes => new DriveInfo(Path).AvailableFreeSpace;

    /// <summary>Takes all space but some; with 0, to the last block.</summary>
    public void Fill(long leave)
    {
        Tool.Ok("sync");
        if (leave > 0)
        {
            Tool.Ok("fallocate", "--length", $"{FreeBytes - leave}", Filler);
            return;
        }
        Tool.Run("dd", "if=/dev/zero", "of=" + Filler, "bs=1M");
        FillMore();
        Assert.True(FreeBytes == 0, $"{FreeBytes} bytes are still free");
    }

    /// <summary>Takes what has become free since, to the last block.</summary>
    public void FillMore()
    {
        Tool.Run("dd", "if=/dev/zero", "of=" + Filler, "bs=4k", "oflag=append", "conv=notrunc");
        Tool.Ok("sync");
    }

    public void MakeRoom()
    {
        File.Delete(Filler);
        Tool.Ok("sync");
    }

    public void Dispose() => Tool.Run("umount", "--lazy", Path);
}
