using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Stores;
using Lincow.Stores.Linear;

namespace Lincow.Tests.Engine.Origins;

/// <summary>An origin is recognised by what can be read of it, and by times only where they are its own.</summary>
public class OriginIdentityTests
{
    private const int SizeBytes = 4 << 20;

    [Fact]
    public void A_sector_that_goes_bad_or_comes_back_is_no_other_content()
    {
        var disk = new Disk();
        var whole = disk.Identify();
        disk.BadFrom = SizeBytes - 512;
        var bad = disk.Identify();
        Assert.NotEqual(whole, bad);
        Assert.Null(bad.DifferenceFrom(whole));
        Assert.Null(whole.DifferenceFrom(bad));
        Assert.Null(bad.DifferenceFrom(bad));
        // What can be read still counts.
        disk.Content[0] ^= 1;
        Assert.Contains("content differs (sampled hash, at byte 0)", disk.Identify().DifferenceFrom(whole));
        disk.BadFrom = 0;
        Assert.Contains("nothing of what it is recognised by can be read", disk.Identify().DifferenceFrom(whole));
        Assert.Equal((SizeBytes - 4096L, (long)SizeBytes), bad.Samples!.FirstUnreadable());
        Assert.Null(whole.Samples!.FirstUnreadable());
    }

    [Fact]
    public void What_was_known_of_a_bad_sector_stays_known()
    {
        var disk = new Disk();
        var whole = disk.Identify();
        disk.BadFrom = SizeBytes - 512;
        var remembered = disk.Identify().Over(whole);
        disk.BadFrom = SizeBytes;
        Assert.Null(disk.Identify().DifferenceFrom(remembered));
        disk.Content[^1] ^= 1;
        Assert.Contains("content differs", disk.Identify().DifferenceFrom(remembered));
    }

    [Fact]
    public void Without_samples_by_themselves_what_can_t_be_read_is_said()
    {
        var disk = new Disk();
        var former = disk.Identify() with { Samples = null };
        disk.BadFrom = SizeBytes - 512;
        var difference = disk.Identify().DifferenceFrom(former);
        Assert.Contains("can't be read", difference);
        Assert.DoesNotContain("differs", difference);
    }

    [Fact]
    public void Samples_are_kept_with_their_hash_and_with_no_other()
    {
        var identity = new Disk().Identify();
        var superblock = new Superblock
        {
            Uuid = Guid.NewGuid(),
            Generation = 1,
            DeviceBytes = SizeBytes,
            MaxDeviceBytes = SizeBytes,
            ChunkShift = 12,
            Layout = LinearLayout.Separate,
            DataOffset = 0,
            Origin = identity,
            OriginUri = "/o",
            DataPath = "/d",
        };
        var block = new byte[Superblock.SizeBytes];
        superblock.Encode(block);
        var read = Superblock.TryDecode(block, "x", out _)!.Origin;
        Assert.Equal(identity, read);
        Assert.True(read.Samples!.TryCompare(identity.Samples!, out var difference));
        Assert.Null(difference);
        (superblock with { Origin = identity with { SampleHash = 5 } }).Encode(block);
        Assert.NotNull(Superblock.TryDecode(block, "x", out _)!.Origin.Samples);
        (superblock with { Origin = identity with { Samples = null } }).Encode(block);
        Assert.Null(Superblock.TryDecode(block, "x", out _)!.Origin.Samples);
    }

    [Fact]
    public void Times_of_a_mount_say_nothing()
    {
        var disk = new Disk { Seconds = 1000 };
        var file = disk.Identify();
        disk.Seconds = 2000;
        Assert.Contains("modified", disk.Identify().DifferenceFrom(file));
        disk.IsTimeless = true;
        var mounted = disk.Identify();
        Assert.Equal(0, mounted.ModifiedSeconds);
        Assert.Null(mounted.DifferenceFrom(file));
        Assert.Null(file.DifferenceFrom(mounted));
        disk.Content[0] ^= 1;
        Assert.NotNull(disk.Identify().DifferenceFrom(mounted));
    }

    [Fact]
    public async Task What_was_changed_since_is_found()
    {
        var disk = new Disk { Seconds = 1000 };
        var then = disk.Identify();
        Assert.Null(await then.FindChangeAsync(disk));
        disk.Seconds++;
        Assert.Contains("modified", await then.FindChangeAsync(disk));
        var device = new Disk { Kind = BlobKind.BlockDevice };
        then = device.Identify();
        Assert.Null(await then.FindChangeAsync(device));
        device.BadFrom = SizeBytes - 512;
        Assert.Null(await then.FindChangeAsync(device));
        device.Content[0] ^= 1;
        Assert.Contains("at byte 0", await then.FindChangeAsync(device));
    }

    [Theory]
    [InlineData(Errno.NoLocks)]
    [InlineData(Errno.NoSystemCall)]
    [InlineData(Errno.NotSupported)]
    [InlineData(Errno.Invalid)]
    public async Task Without_locks_an_origin_is_used_and_no_overlay_is_written(int errno)
    {
        var path = Path.GetTempFileName();
        try
        {
            using var file = new Lockless(path, errno);
            var warnings = new List<LincowError>();
            await OriginFile.LockAsync(new FileControl(file), warnings.Add);
            Assert.Equal(LincowErrorCode.OriginUnlockable, Assert.Single(warnings).Code);
            Assert.Null(StorePath.Lock(file, isWriter: false));
            var refused = Assert.Throws<LincowException>(() => StorePath.Lock(file, isWriter: true)).Error;
            Assert.Equal((LincowErrorCode.OverlayUnlockable, path), (refused.Code, refused.File));
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>A disk that fails from some byte on.</summary>
    private sealed class Disk : ReadOnlyControl
    {
        public Disk() => new Random(1).NextBytes(Content);

        public byte[] Content { get; } = new byte[SizeBytes];

        public int BadFrom { get; set; } = SizeBytes;

        public long Seconds { get; set; }

        public bool IsTimeless { get; set; }

        public BlobKind Kind { get; init; } = BlobKind.File;

        public override string Name => "disk";

        public override BlobFacts Facts => new BlobFacts(Kind, SizeBytes, Seconds) is var facts && IsTimeless ? facts.WithoutTime() : facts;

        public OriginIdentity Identify() => OriginIdentity.OfAsync(this).Now();

        public override ValueTask<int> ReadAsync(long byteOffset, Memory<byte> target, CancellationToken stop = default)
        {
            if (byteOffset + target.Length > BadFrom)
                throw new LinuxException("read", Name, Errno.IO);
            Content.AsSpan((int)byteOffset, target.Length).CopyTo(target.Span);
            return new(target.Length);
        }

        public override IReadableBlob? OnLoop(IoLoop loop) => null;
    }

    private sealed class Lockless(string path, int errno) : LinuxFile(path, new FileFacts(FileKind.Regular, 0, 0, 0, 0, default, 0), false)
    {
        public override bool TryLock(long byteOffset, bool exclusive) => throw new LinuxException("fcntl(F_OFD_SETLK)", Path, errno);

        public override void Dispose()
        {
        }
    }
}
