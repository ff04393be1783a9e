using Lincow.Conversion;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Origins;
using Lincow.Stores;
using Lincow.Stores.DmSnapshot;
using Lincow.Stores.Linear;
using Lincow.Tests.Engine.Device;

namespace Lincow.Tests.Engine.Operations;

/// <summary>A commit on real files: its batches, what ends it, what is refused and what is recorded.</summary>
public sealed class CommitBatchTests : IDisposable
{
    private const int Batch = 64 << 10;

    private readonly string _directory = Directory.CreateTempSubdirectory("lincow-b").FullName;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [InlineData(false, false, 16)]
    [InlineData(true, false, 16)]
    [InlineData(true, true, 1)]
    public void A_run_is_cut_where_a_batch_ends(bool isZero, bool zeroesAreHoles, int expected)
    {
        Make("linear", 4096, 2 << 20);
        Change(device => Assert.Equal(0, isZero ? device.Zero(0, 1 << 20) : device.Write(0, new byte[1 << 20])));
        var files = LinearFiles.Open(At("work"), null, OverlayAccess.Write);
        using var merge = LinearMerge.Open(files, Target(files, zeroesAreHoles), unread => OverlayReader.Over(files, unread), Batch);
        var (batches, end) = (0, 0L);
        for (var runs = new List<CommitRun>(); merge.TryTake(runs); batches++)
        {
            foreach (var run in runs)
            {
                Assert.Equal(end, run.ByteOffset);
                Assert.Equal(isZero ? -1 : files.Superblock.DataOffset + end, run.SourceOffset);
                end += run.ByteLength;
            }
            Assert.True(zeroesAreHoles || runs.Sum(run => run.ByteLength) <= Batch, $"a batch of {runs.Sum(run => run.ByteLength)} bytes");
        }
        Assert.Equal((expected, 1L << 20), (batches, end));
    }

    [Fact]
    public void A_batch_of_a_store_has_an_end_however_large_its_chunks_are()
    {
        const int chunk = 16 << 20;
        Make("snapshot", chunk, 6 * chunk);
        Change(device => Assert.All(Enumerable.Range(0, 6), i => Assert.Equal(0, device.Write((long)i * chunk, [1]))));
        using var merge = new SnapshotMerge(SnapshotFile.Open(At("work"), OverlayAccess.Write), At("origin"), default, 6 * chunk);
        var sizes = new List<long>();
        for (var runs = new List<CommitRun>(); merge.TryTake(runs); merge.Forget(runs))
            sizes.Add(runs.Sum(run => run.ByteLength));
        Assert.Equal([4L * chunk, 2L * chunk], sizes);
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    public void Who_ends_it_between_two_batches_has_an_overlay_that_says_so_and_goes_on(string store)
    {
        var expected = MakeInterrupted(store);
        Assert.True(OverlayDescription.Read(At("work"), null, stop: Stop).UnfinishedCommit);
        var check = OverlayCheck.Run(At("work"), null, repair: false, stop: Stop);
        Assert.True(check is { UnfinishedCommit: true, IsDamaged: false });
        Assert.Equal(expected, Read());
        // Neither a writer nor a repair forgets it.
        Change(_ => { });
        OverlayCheck.Run(At("work"), null, repair: true, stop: Stop);
        Assert.True(OverlayDescription.Read(At("work"), null, stop: Stop).UnfinishedCommit);
        Assert.Equal(LincowErrorCode.CommitUnfinished,
            Assert.Throws<LincowException>(() => OverlayReset.Reset(At("work"), null)).Error.Code);
        Assert.Equal(expected, Read());

        Commit();

        Assert.False(OverlayDescription.Read(At("work"), null, stop: Stop).UnfinishedCommit);
        Assert.Equal(expected, File.ReadAllBytes(At("origin")));
        OverlayReset.Reset(At("work"), null);
        Assert.Equal(expected, Read());
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    public void What_a_cut_commit_needs_is_not_thrown_away_but_by_force(string store)
    {
        MakeInterrupted(store);
        var converter = new OverlayConverter([.. StoreChangeFormat.All, new UmlCowFormat()]);
        AssertRefused(() => OverlayCreator.Create(new CreateOptions { Overlay = At("work"), Origin = "zero:1M", Force = true }));
        AssertRefused(() =>
            OverlayCreator.Create(new CreateOptions { Overlay = At("other"), Map = At("work"), Origin = "zero:1M", Force = true }));
        AssertRefused(() => converter.Run(new ConvertOptions { Source = At("work"), Destination = At("new"), To = "uml" }));
        Assert.False(File.Exists(At("new")));
        File.WriteAllBytes(At("second"), new byte[1 << 20]);
        OverlayCreator.Create(new CreateOptions { Overlay = At("source"), Origin = At("second") });
        AssertRefused(() =>
            converter.Run(new ConvertOptions { Source = At("source"), Destination = At("work"), To = "snapshot", Force = true }));
        AssertRefused(() =>
            OverlaySession.Prepare(new OverlayOptions { Origin = "zero:1M", TransientData = At("work"), Store = "snapshot" })
            .Dispose());
        Assert.True(OverlayDescription.Read(At("work"), null, stop: Stop).UnfinishedCommit);

        OverlayReset.Reset(At("work"), null, force: true);

        Assert.Equal(File.ReadAllBytes(At("origin")), Read());
        // What the origin is like is not claimed to be known: another one of its size may take its place.
        File.WriteAllBytes(At("origin"), new byte[new FileInfo(At("origin")).Length]);
        Assert.Equal(File.ReadAllBytes(At("origin")), Read());
        OverlayCreator.Create(new CreateOptions { Overlay = At("work"), Origin = "zero:1M", Force = true });
    }

    [Fact]
    public void The_data_of_an_overlay_with_a_map_of_its_own_is_kept_as_well()
    {
        Make("linear", 4096, 1 << 20, map: At("map"));
        Change(device => Assert.Equal(0, device.Write(0, [1])));
        var files = LinearFiles.Open(At("work"), null, OverlayAccess.Write);
        using (var merge = LinearMerge.Open(files, Target(files, true), unread => OverlayReader.Over(files, unread)))
            merge.Begin();
        AssertRefused(() =>
            OverlayCreator.Create(new CreateOptions { Overlay = At("work"), Map = At("map2"), Origin = "zero:1M", Force = true }));
        AssertRefused(() => OverlayCreator.Create(new CreateOptions { Overlay = At("map"), Origin = "zero:1M", Force = true }));
        Assert.False(File.Exists(At("map2")));
    }

    [Theory]
    [InlineData("work", true, null)]
    [InlineData("map", true, "work")]
    [InlineData("work", false, null)]
    public void What_is_left_of_an_overlay_that_lost_a_part_in_a_cut_commit_says_what_helps(string left, bool isSeparate, string? lost)
    {
        Make("linear", 4096, 1 << 20, map: isSeparate ? At("map") : null);
        var files = LinearFiles.Open(At("work"), null, OverlayAccess.Write);
        using (var merge = LinearMerge.Open(files, Target(files, true), unread => OverlayReader.Over(files, unread)))
            merge.Begin();
        if (lost is not null)
            File.Delete(At(lost));
        else
            using (var file = File.OpenWrite(At("work")))
                file.SetLength(file.Length - 4096);
        // Nobody opens it.
        Assert.Throws<LincowException>(Commit);
        Assert.Throws<LincowException>(() => OverlayReset.Reset(At("work"), null, force: true));
        var create = new CreateOptions { Overlay = At(left), Origin = "zero:1M", Force = true };
        var message = Assert.Throws<LincowException>(() => OverlayCreator.Create(create)).Message;
        Assert.Contains("remove this file", message);
        Assert.DoesNotContain("reset", message);
        File.Delete(At(left));
        OverlayCreator.Create(create with { Map = left == "work" && isSeparate ? At("map2") : null });
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    public void What_is_refused_is_not_recorded(string store)
    {
        Make(store, 4096, 1 << 20, size: 2 << 20);
        Change(device => Assert.Equal(0, device.Write(0, [1])));
        using (var held = LinuxFile.Open(At("origin"), writable: false))
        {
            Assert.True(held.TryLock(OriginFile.LockByte, exclusive: false));
            Assert.Contains("in use", Assert.Throws<LincowException>(Commit).Message);
        }
        using (var stop = new CancellationTokenSource())
        {
            stop.Cancel();
            Assert.Contains("interrupted",
                Assert.Throws<LincowException>(() =>
                OverlayCommit.Run(new OverlayOptions { Overlay = At("work") }, stop: stop.Token)).Message);
        }
        Assert.False(OverlayDescription.Read(At("work"), null, stop: Stop).UnfinishedCommit);
        Assert.Equal(1 << 20, new FileInfo(At("origin")).Length);
        File.WriteAllBytes(At("origin"), new byte[1 << 20]);
        Assert.Contains("is not the origin", Assert.Throws<LincowException>(Read).Message);
    }

    [Fact]
    public void An_origin_that_can_not_grow_is_as_if_nothing_had_been_begun()
    {
        Make("linear", 4096, 1 << 20, size: 2 << 20);
        var files = LinearFiles.Open(At("work"), null, OverlayAccess.Write);
        var before = files.Superblock;
        // Another origin that the user accepted.
        var target = Target(files, true) with { Uri = At("other"), Identity = before.Origin with { SampleHash = 1 } };
        using (var merge = LinearMerge.Open(files, target, unread => OverlayReader.Over(files, unread)))
            AssertCanNotGrow(merge);
        using var after = LinearFiles.Open(At("work"), null, OverlayAccess.Read);
        Assert.Equal(before, after.Superblock with { Sequence = before.Sequence });
    }

    [Fact]
    public void A_store_whose_origin_can_not_grow_is_as_if_nothing_had_been_begun()
    {
        Make("snapshot", 4096, 1 << 20, size: 2 << 20);
        // Made elsewhere, and nobody here vouches for its path.
        using (var file = LinuxFile.Open(At("work"), writable: true))
            Assert.True((OriginNote.Read(file)! with { Mark = 1 }).Restore(file));
        var store = SnapshotFile.Open(At("work"), OverlayAccess.Write);
        var before = (store.Header, store.Note!);
        using (var merge = new SnapshotMerge(store, At("other"), before.Item2.Identity with { SampleHash = 1 }, 2 << 20))
            AssertCanNotGrow(merge);
        using (var after = SnapshotFile.Open(At("work"), OverlayAccess.Read))
            Assert.Equal(before, (after.Header, after.Note!));
    }

    [Fact]
    public void A_reset_by_force_does_not_vouch_for_a_path_from_elsewhere()
    {
        MakeInterrupted("snapshot");
        using (var file = LinuxFile.Open(At("work"), writable: true))
            Assert.True((OriginNote.Read(file)! with { Mark = 1 }).Restore(file));
        OverlayReset.Reset(At("work"), null, force: true);
        Assert.Contains("could name any file", Assert.Throws<LincowException>(Read).Message);
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    public void While_a_commit_is_unfinished_its_rest_belongs_to_the_origin_at_its_own_place(string store)
    {
        var expected = MakeInterrupted(store);
        File.Copy(At("origin"), At("copy"));
        File.WriteAllBytes(At("another"), new byte[expected.Length]);
        foreach (var name in (string[])["copy", "another"])
        {
            var options = new OverlayOptions { Overlay = At("work"), Origin = At(name) };
            var content = File.ReadAllBytes(At(name));
            foreach (var use in (Action[])[() => OverlayCommit.Run(options), () => new OpenOverlay(options).Dispose(), () =>
                new OverlayReader(options).Dispose()])
            {
                var error = Assert.Throws<LincowException>(use).Error;
                Assert.Contains(At("origin"), error.Message);
                Assert.Equal((LincowErrorCode.OriginElsewhere, At("origin")), (error.Code, error["recorded"].ToString()));
            }
            Assert.Equal(content, File.ReadAllBytes(At(name)));
        }
        Assert.Equal(expected, Read());
        // It has moved, and the user says so; from then on that is its place.
        File.Move(At("origin"), At("moved"));
        using (var device = new OpenOverlay(new OverlayOptions { Overlay = At("work"), Origin = At("moved"), AcceptOrigin = true }))
            Assert.Equal(0, device.Write(0, [expected[0]]));
        Commit();
        Assert.Equal(expected, File.ReadAllBytes(At("moved")));
        // With nothing unfinished, a place is a place.
        File.Move(At("moved"), At("origin"));
        using var reader = new OverlayReader(new OverlayOptions { Overlay = At("work"), Origin = At("origin") });
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    public void What_is_served_while_a_commit_is_unfinished_does_not_shut_the_right_origin_out(string store)
    {
        var expected = MakeInterrupted(store);
        File.Move(At("origin"), At("kept"));
        File.WriteAllBytes(At("origin"), new byte[expected.Length]);
        Change(_ => { });
        File.Move(At("kept"), At("origin"), overwrite: true);
        Commit();
        Assert.Equal(expected, File.ReadAllBytes(At("origin")));
        Assert.Equal(expected, Read());
    }

    [Fact]
    public void A_store_that_is_given_up_later_says_of_its_commit_what_it_said()
    {
        Make("snapshot", 4096, 1 << 20, storeBytes: 4 * 4096);
        var store = SnapshotFile.Open(At("work"), OverlayAccess.Write);
        using (var merge = new SnapshotMerge(store, At("origin"), store.Note!.Identity, 1 << 20))
            merge.Begin();
        using (var device = new OpenOverlay(new OverlayOptions { Overlay = At("work"), GiveUpWhenFull = true }))
            Assert.Equal(-Errno.IO, device.Write(0, new byte[3 * 4096]));
        using var left = SnapshotFile.Open(At("work"), OverlayAccess.Read, rescue: true);
        Assert.Equal((false, true), (left.Header.IsValid, left.Header.IsCommitUnfinished));
    }

    private static void AssertCanNotGrow(ICommitSource merge)
    {
        var full = new FullFile(new FileFacts(FileKind.Regular, 1 << 20, 0, 0, 0, default, 0));
        Assert.Contains("Nothing was committed",
            Assert.Throws<LincowException>(() => OverlayCommit.Run(merge, full, stop: TestContext.Current.CancellationToken)).Message);
    }

    private static void AssertRefused(Action action) =>
        Assert.Contains("its commit was cut off", Assert.Throws<LincowException>(action).Message);

    private CommitTarget Target(LinearFiles files, bool zeroesAreHoles) =>
        new(At("origin"), files.Superblock.Origin, zeroesAreHoles, files.Superblock.DeviceBytes);

    private void Commit() => OverlayCommit.Run(new OverlayOptions { Overlay = At("work") }, stop: TestContext.Current.CancellationToken);

    private string At(string name) => Path.Combine(_directory, name);

    private void Make(string store, int chunk, int originBytes, string? map = null, long? size = null, long? storeBytes = null)
    {
        var content = new byte[originBytes];
        new Random(1).NextBytes(content);
        File.WriteAllBytes(At("origin"), content);
        OverlayCreator.Create(new CreateOptions
        {
            Overlay = At("work"),
            Origin = At("origin"),
            ChunkBytes = chunk,
            Map = map,
            Store = store,
            SizeBytes = size,
            StoreBytes = storeBytes
        });
    }

    /// <summary>An overlay of more than one batch whose commit ended after the first; returns what its device reads.</summary>
    private byte[] MakeInterrupted(string store)
    {
        const int batchAndMore = 65 << 20;
        Make(store, 1 << 20, batchAndMore);
        var content = new byte[batchAndMore];
        new Random(2).NextBytes(content);
        Change(device => Assert.Equal(0, device.Write(0, content)));
        using var stop = new CancellationTokenSource();
        var error = Assert.Throws<LincowException>(() =>
            OverlayCommit.Run(new OverlayOptions { Overlay = At("work") }, new OperationProgressTo(_ => stop.Cancel()), stop.Token));
        Assert.Contains("interrupted", error.Message);
        Assert.NotEqual(content, File.ReadAllBytes(At("origin")));
        return content;
    }

    private void Change(Action<OpenOverlay> change)
    {
        using var device = new OpenOverlay(new OverlayOptions { Overlay = At("work") });
        change(device);
    }

    private byte[] Read()
    {
        using var reader = new OverlayReader(new OverlayOptions { Overlay = At("work") });
        var content = new byte[reader.Device.SizeBytes];
        reader.Read(0, content);
        return content;
    }

    private sealed class FullFile(FileFacts facts) : LinuxFile("/full", facts, direct: false)
    {
        public override FileFacts ReadFacts() => Facts;

        public override void SetLength(long bytes) => throw new LinuxException("setting its length", Path, Errno.FileTooBig);
    }

    private sealed class OpenOverlay : IDisposable
    {
        private readonly PosixLoop _loop = new();
        private readonly OverlaySession _session;

        public OpenOverlay(OverlayOptions options) => _session = OverlaySession.Open(options, _loop);

        public int Write(long byteOffset, byte[] content)
        {
            using var request = new TestRequest
            {
                Operation = Requests.BlockOperation.Write,
                ByteOffset = byteOffset,
                ByteLength = content.Length
            };
            content.CopyTo(request.Content);
            return Run(request);
        }

        public int Zero(long byteOffset, long byteLength) =>
            Run(new TestRequest { Operation = Requests.BlockOperation.WriteZeroes, ByteOffset = byteOffset, ByteLength = byteLength });

        public void Dispose()
        {
            _session.Close();
            _loop.Dispose();
        }

        private int Run(TestRequest request)
        {
            request.SubmitTo(_session.Device);
            while (request.Result is null)
                _loop.RunOnce();
            return request.Result.Value;
        }
    }
}
