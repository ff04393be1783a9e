using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Requests;
using static Lincow.Fuzz.BrokenPromiseException;
using static Lincow.Fuzz.Targets.AwaitedRequest;

namespace Lincow.Fuzz.Targets;

/// <summary>
/// An exception store of dm-snapshot on a file system in memory, with damage in its header and its list, cut short or not: looked at by
/// info, check and map, served, rescued, written to, closed, served again, repaired, reset.
///
/// Held: every failure is a <see cref="LincowException"/> or a negative errno; looking and reading change nothing; each sector that is read
/// is what the list says, by the target's own reading of it, or what was written; a store that is served for writing is sound, during and
/// after; a reset shows the origin; the origin never changes; native memory comes back.
/// </summary>
internal sealed unsafe class StoreTarget : IFuzzTarget, IDisposable
{
    private const int Sector = 512, WindowBytes = 16 << 10, DeviceBytes = 200 * 1024 + Sector;

    private readonly string _directory = FuzzPlace.NewPath();
    private readonly string _path, _originPath;
    private readonly byte[] _origin = new byte[DeviceBytes], _zeroes = new byte[Sector];
    private readonly List<byte[]> _bases = [];
    private readonly nint _buffer = (nint)NativeMemory.AlignedAlloc(WindowBytes, 4096);
    private readonly Dictionary<ulong, ulong> _list = [];
    private readonly Dictionary<long, byte[]> _model = [];
    private byte[] _store = [];
    private long _chunk;

    public StoreTarget()
    {
        Directory.CreateDirectory(_directory);
        (_path, _originPath) = (Path.Combine(_directory, "store"), Path.Combine(_directory, "origin"));
        new Random(1).NextBytes(_origin);
        _origin.AsSpan(40_000, 50_000).Clear();
        File.WriteAllBytes(_originPath, _origin);
        // Several areas, a single one, one that is full, an empty one.
        _bases.Add(Make(512, 150, null));
        _bases.Add(Make(4096, 20, null));
        _bases.Add(Make(512, 70, 512 * (2 + 70 + 2)));
        _bases.Add(Make(1024, 0, null));
    }

    public void Run(ReadOnlySpan<byte> bytes)
    {
        var input = new FuzzInput(bytes);
        var (how, mode) = (input.U8(), input.U8());
        _store = (byte[])_bases[how % _bases.Count].Clone();
        var chunk = BinaryPrimitives.ReadInt32LittleEndian(_store.AsSpan(12)) * Sector;
        for (var patches = how >> 4; patches > 0; patches--)
        {
            // The header, or one of the first areas; then anywhere.
            var number = input.U8();
            var at = number < 40 ? 0 : number < 240 ? chunk * (1 + number % 5 * (chunk / 16 + 1)) % _store.Length
                : number * 997 % _store.Length;
            input.Patch(_store.AsSpan(at, Math.Min(_store.Length - at, 256)));
        }
        if ((how & 8) != 0)
            _store = _store[..(_store.Length - Math.Min(_store.Length, (int)input.U16()))];
        File.WriteAllBytes(_path, _store);
        _model.Clear();
        ReadList();
        Look();
        var isReadOnly = (mode & 3) != 0;
        var options = new OverlayOptions
        {
            Overlay = _path,
            Origin = _originPath,
            ReadOnly = isReadOnly,
            Rescue = (mode & 2) != 0,
            GiveUpWhenFull = (mode & 4) != 0,
            AreaCacheBytes = (mode & 8) != 0 ? 1 : 1 << 20,
        };
        if (Serve(options, ref input) && !isReadOnly)
        {
            var report = OverlayCheck.Run(_path, null, repair: false, origin: _originPath);
            Require(report is { Clean: true, Findings.Count: 0 }, "a store that was served and closed is sound");
            Require(ReadAll(options with { ReadOnly = true }), "a store that was served and closed can be served");
        }
        if ((mode & 16) != 0)
            Attempt(() => OverlayCheck.Run(_path, null, repair: true, origin: _originPath));
        if ((mode & 32) != 0)
            Reset(options with { ReadOnly = true, Rescue = false });
        Require(File.ReadAllBytes(_originPath).AsSpan().SequenceEqual(_origin), "the origin never changes");
        Require(new FileInfo(_path).Length == _store.Length, "a store keeps its length");
    }

    public void Dispose()
    {
        Directory.Delete(_directory, recursive: true);
        NativeMemory.AlignedFree((void*)_buffer);
    }

    private void Look()
    {
        Attempt(() =>
        {
            var report = OverlayCheck.Run(_path, null, repair: false, origin: _originPath);
            Require(report is { StaleBytes: >= 0, PagesChecked: >= 0 }, "counts are counts");
        });
        Attempt(() =>
        {
            var info = OverlayDescription.Read(_path, null, origin: _originPath);
            Require(info.Chunks is { Data: >= 0, Zero: >= 0, Origin: >= 0 }, "counts are counts");
        });
        Attempt(() =>
        {
            long end = 0;
            OverlayMap.ForEach(new OverlayOptions { Overlay = _path, Origin = _originPath }, range =>
            {
                Require(range.Start == end && range.Length > 0, "ranges follow each other");
                end = range.Start + range.Length;
            });
        });
        Require(IsUnchanged(), "looking changes nothing");
    }

    /// <summary>Carries out what the input says. True when a device was there all the time.</summary>
    private bool Serve(OverlayOptions options, ref FuzzInput input)
    {
        using var loop = new PosixLoop();
        OverlaySession? session = null;
        Attempt(() => session = OverlaySession.Open(options, loop));
        if (session is null)
        {
            Require(IsUnchanged(), "a store that is refused is left alone");
            return false;
        }
        Require(session.Device.SizeBytes == DeviceBytes, "the device is as large as its origin");
        for (var operations = 0; operations < 24 && !input.IsEmpty; operations++)
        {
            var (kind, at) = (input.U8() & 7, input.U16() * (long)Sector % DeviceBytes);
            var length = Math.Min((1 + input.U8() % 32) * Sector, DeviceBytes - at);
            Run(session, loop, options, kind, at, (int)length);
        }
        var isWell = session.FailedBecause is null;
        Attempt(session.Close);
        Require(loop.Buffers.RentedBytes == 0, "memory comes back");
        Require(!options.ReadOnly || IsUnchanged(), "reading changes nothing");
        return isWell;
    }

    private void Run(OverlaySession session, PosixLoop loop, OverlayOptions options, int kind, long at, int length)
    {
        var request = AwaitedRequest.Make(kind, BlockOperation.CopyUp, at, length, _buffer, WindowBytes);
        var window = new Span<byte>((void*)_buffer, length);
        var result = request.Await(session.Device, loop);
        Require(result is 0 or < 0, "0 or an errno");
        Require(result == 0 || result == -Errno.NoSpace || request.NeedsExclusiveRange && options.ReadOnly || options.Rescue
            || session.FailedBecause is not null, "a sound store fails for lack of space alone");
        for (var i = 0; i < length; i += Sector)
        {
            var number = (at + i) / Sector;
            var sector = window.Slice(i, Sector);
            if (request.Operation == BlockOperation.Read && result == 0)
                Require(Expected(number).IsEmpty
                    || sector.SequenceEqual(Expected(number)), $"sector {number} is what the list says or what was written");
            else if (request.IsChange && result == 0)
                _model[number] = request.Operation == BlockOperation.Write ? sector.ToArray() : _zeroes;
            else if (request.IsChange && !options.ReadOnly)
                // Zeroing goes piece by piece, so a part of it may be done.
                _model[number] = [];
        }
    }

    private bool ReadAll(OverlayOptions options)
    {
        using var loop = new PosixLoop();
        OverlaySession? session = null;
        Attempt(() => session = OverlaySession.Open(options, loop));
        if (session is null)
            return false;
        for (long at = 0; at < DeviceBytes; at += WindowBytes)
        {
            var length = (int)Math.Min(WindowBytes, DeviceBytes - at);
            var request = new AwaitedRequest { Operation = BlockOperation.Read, ByteOffset = at, ByteLength = length, Buffer = _buffer };
            Require(request.Await(session.Device, loop) == 0, "a sound store can be read");
            for (var i = 0; i < length; i += Sector)
            {
                var number = (at + i) / Sector;
                if (Expected(number) is { Length: > 0 } expected)
                    Require(new ReadOnlySpan<byte>((void*)(_buffer + i), Sector).SequenceEqual(expected),
                        $"sector {number} is there after the close");
            }
        }
        session.Close();
        return true;
    }

    private void Reset(OverlayOptions options)
    {
        var isDone = false;
        Attempt(() =>
        {
            OverlayReset.Reset(_path, null);
            isDone = true;
        });
        if (!isDone)
            return;
        _list.Clear();
        _model.Clear();
        // One that is too short for its own list has been reset all the same.
        ReadAll(options);
    }

    /// <summary>A sector of the device; empty when it may be old or new.</summary>
    private ReadOnlySpan<byte> Expected(long number)
    {
        if (_model.TryGetValue(number, out var written))
            return written;
        var at = number * Sector;
        return _chunk > 0 && _list.TryGetValue((ulong)(at / _chunk), out var place)
            ? _store.AsSpan((int)((long)place * _chunk + at % _chunk), Sector)
            : _origin.AsSpan((int)at, Sector);
    }

    /// <summary>The list as the format has it. Nonsense ends it; of two entries the first counts, for neither may be shown.</summary>
    private void ReadList()
    {
        _list.Clear();
        _chunk = 0;
        if (_store.Length < Sector || BinaryPrimitives.ReadUInt32LittleEndian(_store) == 0)
            return;
        _chunk = BinaryPrimitives.ReadUInt32LittleEndian(_store.AsSpan(12)) * (long)Sector;
        var entries = _chunk / 16;
        for (long i = 0; entries > 0; i++)
        {
            var at = (1 + i / entries * (entries + 1)) * _chunk + i % entries * 16;
            if (at + 16 > _store.Length)
                return;
            var place = BinaryPrimitives.ReadUInt64LittleEndian(_store.AsSpan((int)at + 8));
            if (place == 0)
                return;
            if (place < (ulong)(_store.Length / _chunk))
                _list.TryAdd(BinaryPrimitives.ReadUInt64LittleEndian(_store.AsSpan((int)at)), place);
        }
    }

    private bool IsUnchanged() => File.ReadAllBytes(_path).AsSpan().SequenceEqual(_store);

    private byte[] Make(int chunk, int count, long? storeBytes)
    {
        File.Delete(_path);
        OverlayCreator.Create(new CreateOptions
        {
            Overlay = _path,
            Origin = _originPath,
            ChunkBytes = chunk,
            Store = "snapshot",
            StoreBytes = storeBytes
        });
        using var loop = new PosixLoop();
        var session = OverlaySession.Open(new OverlayOptions { Overlay = _path, Origin = _originPath }, loop);
        var random = new Random(chunk);
        var order = new int[DeviceBytes / chunk];
        for (var i = 0; i < order.Length; i++)
            order[i] = i;
        random.Shuffle(order);
        foreach (var number in order[..Math.Min(count, order.Length)])
        {
            random.NextBytes(new Span<byte>((void*)_buffer, chunk));
            var request = new AwaitedRequest
            {
                Operation = BlockOperation.Write,
                ByteOffset = number * chunk,
                ByteLength = chunk,
                Buffer = _buffer
            };
            Require(request.Await(session.Device, loop) == 0, "a sound store takes writes");
        }
        session.Close();
        return File.ReadAllBytes(_path);
    }
}
