using Lincow.Blobs;
using Lincow.Linux;

namespace Lincow.Tests.Engine;

/// <summary>Data and holes of a blob: found truly, whoever is asked; and without keeping anybody's loop or allocating.</summary>
public sealed class RunSearchTests : IDisposable
{
    private const long Block = 64 << 10;
    private const int Blocks = 40;

    private readonly string _path = Path.Combine(Path.GetTempPath(), $"lincow-runs-{Guid.NewGuid():N}");
    private readonly List<IDisposable> _open = [];

    public RunSearchTests()
    {
        using var file = LinuxFile.CreateNew(_path);
        file.SetLength(Blocks * Block);
        // Blocks 3, 7, 8 and 20 hold data, 7 from its start to its end.
        file.Write(Enumerable.Repeat((byte)7, (int)Block).ToArray(), 7 * Block);
        foreach (var block in new[] { 3, 8, 20 })
            file.Write(new byte[] { 1, 2, 3 }, block * Block + 5);
    }

    public void Dispose()
    {
        _open.Reverse();
        _open.ForEach(one => one.Dispose());
        File.Delete(_path);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_runs_of_a_file_hold_its_data_and_say_no_hole_of_it(bool posix)
    {
        var blob = Open(posix, LinuxFile.Open(_path, writable: false));
        var runs = new BlobRuns();
        Assert.Equal(0, blob.FindRunsNow(0, Blocks * Block, runs));
        Assert.Equal((0L, Blocks * Block), (runs.ByteOffset, runs.ByteEnd));
        RequireTruth(runs);
        Assert.Equal(7, runs.Count);
        // From the middle of a hole to the middle of data.
        Assert.Equal(0, blob.FindRunsNow(5 * Block, 7 * Block + 9, runs));
        Assert.Equal((5 * Block, 7 * Block + 9), (runs.ByteOffset, runs.ByteEnd));
        RequireTruth(runs);
        Assert.Equal(0, blob.FindRunsNow(Block, Block, runs));
        Assert.Equal((0, Block), (runs.Count, runs.ByteEnd));
    }

    [Fact]
    public void A_search_goes_on_where_there_was_no_room_for_more()
    {
        var blob = Open(posix: false, LinuxFile.Open(_path, writable: false));
        var (runs, cursor) = (new BlobRuns(capacity: 2), 0L);
        for (var batches = 0; cursor < Blocks * Block; batches++)
        {
            Assert.True(batches < 10);
            Assert.Equal(0, blob.FindRunsNow(cursor, Blocks * Block, runs));
            Assert.True(runs.ByteEnd > cursor);
            RequireTruth(runs);
            cursor = runs.ByteEnd;
        }
    }

    public static TheoryData<string> Lies =>
    [
        "data is denied", "data is denied, and everything is invalid", "invalid", "not supported", "data before the offset", "data at 0",
            "data that is empty",
        "data that ends before it begins", "holes of a byte", "the end is beyond the end", "data at the end", "data beyond the end",
    ];

    /// <summary>A file system whose SEEK_DATA doesn't tell the truth costs reads, never content, and never a search without end.</summary>
    [Theory]
    [MemberData(nameof(Lies))]
    public void What_cannot_be_true_is_data(string lie)
    {
        var file = new LyingFile(_path, lie);
        var blob = Open(posix: true, file);
        var (runs, cursor) = (new BlobRuns(), 0L);
        while (cursor < Blocks * Block)
        {
            var calls = file.Calls;
            Assert.Equal(0, blob.FindRunsNow(cursor, Blocks * Block, runs));
            Assert.InRange(file.Calls - calls, 1, 2 * runs.Capacity);
            Assert.True(runs.ByteEnd > cursor);
            RequireTruth(runs);
            cursor = runs.ByteEnd;
        }
        Assert.InRange(file.Calls, 1, Blocks * Block / 512 * 2);
    }

    /// <summary>What an origin had there is lost, and zeroes would be shown for it.</summary>
    [Fact]
    public void What_has_been_cut_off_is_no_hole()
    {
        var blob = Open(posix: true, LinuxFile.Open(_path, writable: false));
        using (var file = LinuxFile.Open(_path, writable: true))
            file.SetLength(15 * Block);
        var runs = new BlobRuns();
        Assert.Equal(0, blob.FindRunsNow(10 * Block, Blocks * Block, runs));
        Assert.Equal((2, false, true), (runs.Count, runs.IsData(0), runs.IsData(1)));
        Assert.Equal((15 * Block, Blocks * Block), (runs.EndOf(0), runs.ByteEnd));
        Assert.Equal(0, blob.FindRunsNow(20 * Block, Blocks * Block, runs));
        Assert.Equal((1, true), (runs.Count, runs.IsData(0)));
    }

    /// <summary>Resets and checks ask the file itself, and go on from each answer.</summary>
    [Theory]
    [MemberData(nameof(Lies))]
    public void Whoever_asks_the_file_itself_is_told_of_nothing_before_the_offset(string lie)
    {
        using var file = new LyingFile(_path, lie);
        var cursor = Block;
        for (var i = 0; i < 1000 && file.TryFindData(cursor, Blocks * Block, out var start, out var end); i++)
        {
            Assert.InRange(start, cursor, Blocks * Block - 1);
            Assert.InRange(end, start + 1, Blocks * Block);
            cursor = end;
        }
    }

    /// <summary>No file stands between a program's origin and the search.</summary>
    [Theory]
    [InlineData(0, 512)]
    [InlineData(0, 2 * Block)]
    [InlineData(2 * Block, 3 * Block)]
    [InlineData(Block + 512, Block + 512)]
    public void What_a_program_says_that_cannot_be_true_is_data(long saidStart, long saidEnd)
    {
        var runs = new BlobRuns();
        RunSearch.Fill(Lie, Block, 2 * Block, runs);
        Assert.Equal((1, true, 2 * Block), (runs.Count, runs.IsData(0), runs.ByteEnd));

        bool Lie(long byteOffset, long byteEnd, out long dataStart, out long dataEnd)
        {
            (dataStart, dataEnd) = (saidStart, saidEnd);
            return true;
        }
    }

    [Fact]
    public void A_search_completes_after_the_call_on_the_loop_and_waits_on_another_thread()
    {
        using var gate = new ManualResetEventSlim();
        var file = new LyingFile(_path, "") { BeforeSeek = () => gate.Wait(TimeSpan.FromSeconds(20)) };
        var blob = Open(posix: false, file, out var loop);
        if (loop.BlocksOnFiles)
            Assert.Skip("needs io_uring");
        var search = new Ended();
        blob.FindRuns(0, Blocks * Block, new BlobRuns(), search);
        // The loop serves others while the file system thinks.
        var buffer = loop.Buffers.Rent(512);
        Assert.Equal(0, blob.ReadNow(0, buffer, 512));
        Assert.Null(search.Result);
        // A closed file keeps its descriptor until the search that uses it has ended.
        blob.Dispose();
        Assert.True(file.Descriptor >= 0);
        gate.Set();
        while (search.Result is null)
            loop.RunOnce();
        Assert.Equal(0, search.Result);
        Assert.Throws<ObjectDisposedException>(() => file.Descriptor);
    }

    [Fact]
    public void A_search_allocates_nothing()
    {
        var blob = Open(posix: false, LinuxFile.Open(_path, writable: false), out var loop);
        var (runs, search) = (new BlobRuns(), new Ended());
        Search(1000);
        var least = long.MaxValue;
        for (var attempt = 0; attempt < 3 && least > 0; attempt++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            Search(1000);
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }
        Assert.Equal(0, least);

        void Search(int count)
        {
            for (var i = 0; i < count; i++)
            {
                search.Ends = 0;
                blob.FindRuns(0, Blocks * Block, runs, search);
                while (search.Ends == 0)
                    loop.RunOnce();
            }
        }
    }

    private FileBlob Open(bool posix, LinuxFile file) => Open(posix, file, out _);

    private FileBlob Open(bool posix, LinuxFile file, out IoLoop loop)
    {
        loop = posix ? new PosixLoop() : IoLoop.Create(out _);
        var blob = new FileBlob(file, loop);
        _open.AddRange([loop, blob]);
        return blob;
    }

    private void RequireTruth(BlobRuns runs)
    {
        var content = File.ReadAllBytes(_path);
        for (var i = 0; i < runs.Count; i++)
        {
            if (!runs.IsData(i))
                Assert.Equal(-1, content.AsSpan((int)runs.StartOf(i)..(int)runs.EndOf(i)).IndexOfAnyExcept((byte)0));
            Assert.True(runs.EndOf(i) > runs.StartOf(i));
        }
    }

    private sealed class Ended : BlobOperation
    {
        public int? Result { get; private set; }

        public int Ends { get; set; }

        public override void End(int result)
        {
            Ends++;
            Result ??= result;
        }
    }

    private sealed class LyingFile(string path, string lie) : LinuxFile(path, FactsOf(path), false)
    {
        private readonly LinuxFile _file = Open(path, writable: false);

        public int Calls { get; private set; }

        public Action? BeforeSeek { get; init; }

        public override int Descriptor => _file.Descriptor;

        public override int TryReadCached(nint buffer, int byteCount, long byteOffset) => -Errno.Again;

        public override void Dispose() => _file.Dispose();

        protected override long SeekData(long byteOffset)
        {
            Calls++;
            BeforeSeek?.Invoke();
            if (lie == "")
                return base.SeekData(byteOffset);
            var truth = base.SeekData(byteOffset);
            return lie switch
            {
                "data is denied" when truth == byteOffset => -Errno.NoSuchAddress,
                "data is denied, and everything is invalid" => -Errno.NoSuchAddress,
                "invalid" => -Errno.Invalid,
                "not supported" => -Errno.NotSupported,
                "data before the offset" => byteOffset - 1,
                "data at 0" => 0,
                "holes of a byte" => byteOffset,
                "data beyond the end" => Blocks * Block + 4096,
                "data at the end" => truth < 0 ? Blocks * Block : truth,
                _ => truth,
            };
        }

        protected override long SeekHole(long byteOffset)
        {
            Calls++;
            return lie switch
            {
                "data is denied, and everything is invalid" or "invalid" => -Errno.Invalid,
                "data that is empty" => byteOffset,
                "data that ends before it begins" => byteOffset - 4096,
                "holes of a byte" => byteOffset + 1,
                "the end is beyond the end" => base.SeekHole(byteOffset) + (1L << 50),
                _ => base.SeekHole(byteOffset),
            };
        }

        private static FileFacts FactsOf(string path)
        {
            using var file = Open(path, writable: false);
            return file.Facts;
        }
    }
}
