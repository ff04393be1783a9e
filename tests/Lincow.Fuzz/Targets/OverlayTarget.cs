using System.Runtime.InteropServices;
using Lincow.Device;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Requests;
using static Lincow.Fuzz.BrokenPromiseException;
using static Lincow.Fuzz.Targets.AwaitedRequest;

namespace Lincow.Fuzz.Targets;

/// <summary>
/// A whole overlay on a file system in memory, with damage anywhere in its superblocks and map pages, sealed again or not: looked at by
/// info, check and map, served, written to, closed, served again, repaired, reset.
///
/// Held: every failure is a <see cref="LincowException"/> or a negative errno; the origin and what lies beyond the overlay's end never
/// change; each sector that is read is the origin's, the overlay's at the shift, or zeroes; what was written is read back, before and after
/// a close; native memory comes back.
/// </summary>
internal sealed unsafe class OverlayTarget : IFuzzTarget, IDisposable
{
    private const int Sector = 512, WindowBytes = 16 << 10;

    private readonly OverlayBases _bases = new();
    private readonly nint _buffer = (nint)NativeMemory.AlignedAlloc(WindowBytes, 4096);
    private readonly byte[] _sector = new byte[Sector];
    private readonly Dictionary<long, byte[]> _model = [];
    private long _deviceEnd;

    public void Run(ReadOnlySpan<byte> bytes)
    {
        var input = new FuzzInput(bytes);
        var image = _bases.Choose(input.U8());
        var how = input.U8();
        image.Lay(ref input, how);
        _model.Clear();
        _deviceEnd = 0;
        try
        {
            Look(image);
            Serve(image, ref input, isReadOnly: (how & 1) != 0);
            if ((how & 1) == 0)
                ReadAgain(image);
            if ((how & 2) != 0)
                Attempt(() => OverlayCheck.Run(image.Path, null, repair: true));
            if ((how & 4) != 0)
                Attempt(() => OverlayReset.Reset(image.Path, null));
        }
        finally
        {
            image.RequireNothingElseChanged(_deviceEnd);
        }
    }

    public void Dispose()
    {
        _bases.Dispose();
        NativeMemory.AlignedFree((void*)_buffer);
    }

    private static void Look(OverlayImage image)
    {
        image.Remember();
        Attempt(() =>
        {
            var report = OverlayCheck.Run(image.Path, null, repair: false);
            Require(report.StaleBytes >= 0 && report.PagesChecked >= 0, "counts are counts");
        });
        Attempt(() =>
        {
            var info = OverlayDescription.Read(image.Path, null);
            Require(info.Chunks is { Data: >= 0, Zero: >= 0, Origin: >= 0 }, "counts are counts");
        });
        Attempt(() =>
        {
            long end = 0;
            OverlayMap.ForEach(new OverlayOptions { Overlay = image.Path }, range =>
            {
                Require(range.Start == end && range.Length > 0, "ranges follow each other");
                end = range.Start + range.Length;
            });
        });
        Require(image.IsAsRemembered(), "looking changes nothing");
    }

    private void Serve(OverlayImage image, ref FuzzInput input, bool isReadOnly)
    {
        using var loop = new PosixLoop();
        if (Open(image, loop, isReadOnly) is not { } session)
            return;
        var device = session.Device;
        var shift = device.Stack.Top.LocateNow(0, 1).DataOffset;
        _deviceEnd = shift + device.SizeBytes;
        for (var operations = 0; operations < 24 && !input.IsEmpty; operations++)
        {
            var kind = input.U8();
            var at = input.U16() * (kind & 0x80) switch { 0 => Sector, _ => (long)Sector << (kind >> 3 & 15) } % device.SizeBytes;
            var length = Math.Min(Math.Min((1 + input.U8() % 32) * Sector, WindowBytes), device.SizeBytes - at);
            Run(device, loop, image, shift, kind & 7, at, (int)length);
        }
        try
        {
            session.Close();
        }
        catch (LincowException)
        {
            _model.Clear();
        }
        Require(loop.Buffers.RentedBytes == 0, "memory comes back");
    }

    private void Run(CowDevice device, PosixLoop loop, OverlayImage image, long shift, int kind, long at, int length)
    {
        var request = AwaitedRequest.Make(kind, BlockOperation.Discard, at, length, _buffer, WindowBytes);
        var window = new Span<byte>((void*)_buffer, length);
        var result = request.Await(device, loop);
        Require(result <= 0, "0 or an errno");
        for (var i = 0; i < length; i += Sector)
        {
            var number = (at + i) / Sector;
            var sector = window.Slice(i, Math.Min(Sector, length - i));
            if (request.Operation == BlockOperation.Read && result == 0)
                Compare(image, shift, number, sector);
            else if (request.IsChange)
                Remember(number, result < 0 || (request.Operation == BlockOperation.Discard && !IsWholeChunk(device, at, length, at + i))
                    ? null : request.Operation == BlockOperation.Write ? sector.ToArray() : new byte[sector.Length]);
        }
    }

    // Of a chunk that it covers in part, a discard may leave what was there.
    private static bool IsWholeChunk(CowDevice device, long at, int length, long place)
    {
        var (geometry, chunk) = (device.Geometry, device.Geometry.ChunkAt(place));
        return geometry.StartOf(chunk) >= at && geometry.EndOf(chunk) <= at + length;
    }

    private void Remember(long number, byte[]? content)
    {
        // Empty: the sector may be old or new.
        _model[number] = content ?? [];
    }

    private void Compare(OverlayImage image, long shift, long number, ReadOnlySpan<byte> sector)
    {
        if (_model.TryGetValue(number, out var written))
        {
            Require(written.Length == 0 || sector.SequenceEqual(written), $"sector {number} is what was written");
            return;
        }
        if (sector.IndexOfAnyExcept((byte)0) < 0)
            return;
        image.ReadOrigin(number * Sector, _sector);
        if (sector.SequenceEqual(_sector.AsSpan(0, sector.Length)))
            return;
        image.ReadData(number * Sector + shift, _sector);
        Require(sector.SequenceEqual(_sector.AsSpan(0, sector.Length)),
            $"sector {number} is the origin's, the overlay's at the shift, or zeroes");
    }

    private void ReadAgain(OverlayImage image)
    {
        using var loop = new PosixLoop();
        if (_model.Count == 0 || Open(image, loop, isReadOnly: true) is not { } session)
            return;
        foreach (var (number, content) in _model)
        {
            if (content.Length == 0)
                continue;
            var request = new AwaitedRequest
            {
                Operation = BlockOperation.Read,
                ByteOffset = number * Sector,
                ByteLength = content.Length,
                Buffer = _buffer
            };
            if (request.Await(session.Device, loop) == 0)
                Require(new ReadOnlySpan<byte>((void*)_buffer, content.Length).SequenceEqual(content),
                    $"sector {number} is there after the close");
        }
        session.Close();
        Require(loop.Buffers.RentedBytes == 0, "memory comes back");
    }

    private static OverlaySession? Open(OverlayImage image, PosixLoop loop, bool isReadOnly)
    {
        OverlaySession? session = null;
        Attempt(() => session = OverlaySession.Open(new OverlayOptions { Overlay = image.Path, ReadOnly = isReadOnly }, loop));
        return session;
    }
}
