using System.Buffers.Binary;
using Lincow.Device;
using Lincow.Fuzz;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Stores.DmSnapshot;
using Lincow.Tests.Engine.Device;

namespace Lincow.Tests.Engine.Stores.DmSnapshot;

/// <summary>A snapshot store in a file, over an origin with holes, as a session opens it.</summary>
internal sealed class TestStore : TestDevice
{
    private readonly string _directory = Directory.CreateDirectory(FuzzPlace.NewPath()).FullName;
    private readonly PosixLoop _loop = new();
    private OverlaySession? _session;

    /// <param name="deviceBytes">The device's size, and the origin's.</param>
    /// <param name="chunkBytes">The chunk size.</param>
    /// <param name="storeBytes">The store's size; null for enough.</param>
    /// <param name="seed">Of the origin's content.</param>
    public TestStore(long deviceBytes, int chunkBytes, long? storeBytes = null, int seed = 1)
    {
        Layout = new SnapshotLayout(System.Numerics.BitOperations.Log2((uint)chunkBytes));
        OriginContent = new byte[deviceBytes];
        FillOrigin(new Random(seed));
        OverlayCreator.Create(new CreateOptions
        {
            Overlay = Path,
            Origin = OriginPath,
            ChunkBytes = chunkBytes,
            Store = "snapshot",
            StoreBytes = storeBytes
        });
    }

    public string Path => System.IO.Path.Combine(_directory, "store");

    public string OriginPath => System.IO.Path.Combine(_directory, "origin");

    public override byte[] OriginContent { get; }

    public SnapshotLayout Layout { get; }

    /// <summary>How it is opened; overlay and origin are filled in.</summary>
    public OverlayOptions Options { get; set; } = new();

    public override CowDevice Device
    {
        get
        {
            if (_session is null)
                Open();
            return _session!.Device;
        }
    }

    public SnapshotStore Store => (SnapshotStore)Device.Stack.Top;

    /// <summary>Native memory that is in use.</summary>
    public long RentedBytes => _loop.Buffers.RentedBytes;

    public override BufferPool Buffers => _loop.Buffers;

    public override void Open()
    {
        _session = OverlaySession.Open(Options with { Overlay = Path, Origin = OriginPath }, _loop);
        _session.Report = error => Reports.Add(error.Message);
    }

    /// <summary>As N, over the same origin: the chunks go to a file of the test's.</summary>
    public void OpenTransient(string data)
    {
        _session = OverlaySession.Open(Options with
        {
            Origin = OriginPath,
            TransientData = data,
            ChunkBytes = Layout.ChunkBytes,
            Store = "snapshot"
        }, _loop);
        _session.Report = error => Reports.Add(error.Message);
    }

    public override int Close()
    {
        if (_session is not { } session)
            return 0;
        _session = null;
        var failed = session.FailedBecause is not null;
        try
        {
            session.Close();
            failed = false;
        }
        catch (LincowException) when (failed)
        {
        }
        Assert.Equal(0, _loop.Buffers.RentedBytes);
        return failed ? -Errno.IO : 0;
    }

    public override void Reset()
    {
        Assert.Equal(0, Close());
        OverlayReset.Reset(Path, null);
        Open();
    }

    public override int Run(TestRequest request)
    {
        request.SubmitTo(Device);
        Await(request);
        return request.Result!.Value;
    }

    public void Turn() => _loop.RunOnce();

    public void Await(TestRequest request)
    {
        for (var turns = 0; request.Result is null; turns++)
        {
            Assert.True(turns < 1_000_000, $"{request.Operation} at {request.ByteOffset} of {request.ByteLength} bytes waits for nothing");
            _loop.RunOnce();
        }
    }

    public override void Dispose()
    {
        Close();
        _loop.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    /// <summary>What check finds, nothing being repaired.</summary>
    public CheckReport Check() => OverlayCheck.Run(Path, null, repair: false, origin: OriginPath);

    public string[] Findings() => [.. Check().Findings.Select(finding => finding.Problem)];

    public void Enlarge(long bytes)
    {
        using var file = File.OpenWrite(Path);
        file.SetLength(bytes);
    }

    public byte[] Peek(long offset, int bytes)
    {
        var content = new byte[bytes];
        using var file = File.OpenHandle(Path, share: FileShare.ReadWrite);
        RandomAccess.Read(file, content, offset);
        return content;
    }

    public void Poke(long offset, ReadOnlySpan<byte> content)
    {
        using var file = File.OpenHandle(Path, access: FileAccess.Write, share: FileShare.ReadWrite);
        RandomAccess.Write(file, content, offset);
    }

    /// <summary>Where an entry stands, by its number through all areas.</summary>
    public long EntryOffset(long number) =>
        Layout.AreaOffset(Layout.AreaOf(number)) + Layout.IndexInArea(number) * ExceptionEntry.SizeBytes;

    /// <summary>An entry as it is on disk, without help.</summary>
    public (ulong Old, ulong New) Entry(long number)
    {
        var bytes = Peek(EntryOffset(number), ExceptionEntry.SizeBytes);
        return (BinaryPrimitives.ReadUInt64LittleEndian(bytes), BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(8)));
    }

    public void SetEntry(long number, ulong old, ulong place)
    {
        var bytes = new byte[ExceptionEntry.SizeBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, old);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(8), place);
        Poke(EntryOffset(number), bytes);
    }

    /// <summary>A chunk's worth of bytes that name their number.</summary>
    public byte[] Chunk(int number)
    {
        var content = new byte[Layout.ChunkBytes];
        for (var i = 0; i < content.Length; i++)
            content[i] = (byte)(number * 31 + i * 7 + i / 256);
        return content;
    }

    private void FillOrigin(Random random)
    {
        using var file = File.OpenHandle(OriginPath, FileMode.CreateNew, FileAccess.Write);
        RandomAccess.SetLength(file, OriginContent.Length);
        // Runs of data and holes, of lengths that respect nothing.
        for (var cursor = 0; cursor < OriginContent.Length;)
        {
            var run = OriginContent.AsSpan(cursor, Math.Min(OriginContent.Length - cursor, random.Next(1, 40_000)));
            if (random.Next(3) > 0)
            {
                random.NextBytes(run);
                RandomAccess.Write(file, run, cursor);
            }
            cursor += run.Length;
        }
    }
}
