using Lincow.Conversion;
using Lincow.Linux;
using Lincow.Stores;
using static Lincow.Fuzz.BrokenPromiseException;

namespace Lincow.Fuzz.Targets;

/// <summary>
/// A store of another format on a file system in memory: a sound one with damage in it, read by convert's reader.
///
/// Held: every failure is a <see cref="LincowException"/>; changes lie in order within the device; each sector that is read is what the
/// target's own reading of the format says; neither file is changed.
/// </summary>
internal abstract class StoreBase : IFuzzTarget, IDisposable
{
    protected const int Sector = 512, DeviceBytes = 200 * 1024 + Sector;
    private const int MaxStoreBytes = 1 << 20, MaxRanges = 1 << 16;

    private readonly IChangeFormat _format;
    private readonly string _directory = FuzzPlace.NewPath();
    private readonly string _path, _originPath;
    private readonly byte[] _origin = new byte[DeviceBytes], _sector = new byte[Sector];
    private readonly List<byte[]> _bases = [];

    protected StoreBase(IChangeFormat format, params int[] chunks)
    {
        _format = format;
        Directory.CreateDirectory(_directory);
        (_path, _originPath) = (Path.Combine(_directory, "store"), Path.Combine(_directory, "origin"));
        new Random(1).NextBytes(_origin);
        File.WriteAllBytes(_originPath, _origin);
        File.SetLastWriteTimeUtc(_originPath, DateTime.UnixEpoch);
        foreach (var chunk in chunks)
            _bases.Add(Make(chunk));
    }

    public void Run(ReadOnlySpan<byte> bytes)
    {
        var input = new FuzzInput(bytes);
        var how = input.U8();
        var store = (byte[])_bases[how % _bases.Count].Clone();
        // Most of it is data: damage goes where the metadata is, in the first part, and seldom elsewhere.
        for (var patches = how >> 4; patches >= 0; patches--)
        {
            var at = Metadata(input.U8(), store.Length);
            input.Patch(store.AsSpan(at, Math.Min(store.Length - at, 256)));
        }
        if ((how & 8) != 0)
            store = store[..(store.Length - Math.Min(store.Length, (int)input.U16()))];
        File.WriteAllBytes(_path, store);
        try
        {
            using var source = _format.Open(new ChangeSourceOptions { Path = _path, Origin = _originPath, AcceptOrigin = (how & 4) != 0 });
            Judge(source, store);
        }
        catch (LincowException)
        {
        }
        Require(File.ReadAllBytes(_path).AsSpan().SequenceEqual(store), "looking changes nothing");
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    /// <summary>Where to damage: an offset for each number.</summary>
    protected abstract int Metadata(int number, int storeBytes);

    /// <summary>
    /// The content of a sector as the format says it, read without any help: the place in the store, or -1 for the origin's.
    /// </summary>
    protected abstract long Find(byte[] store, long sector);

    private void Judge(IChangeSource source, byte[] store)
    {
        Require(source.DeviceBytes > 0 && source.DeviceBytes <= Geometry.MaxDeviceBytes, "a device has a size that a device can have");
        long end = 0;
        var count = 0;
        foreach (var range in source.Changes())
        {
            Require(range.Start >= end && range.Length > 0 && range.End <= source.DeviceBytes, "changes lie in order within the device");
            end = range.End;
            if (++count > MaxRanges)
                break;
            Compare(source, store, range.Start / Sector);
            Compare(source, store, (range.End - 1) / Sector);
        }
        for (var sector = 0; sector < Math.Min(source.DeviceBytes, DeviceBytes) / Sector; sector += 3)
            Compare(source, store, sector);
    }

    private void Compare(IChangeSource source, byte[] store, long sector)
    {
        source.Read(sector * Sector, _sector);
        var place = Find(store, sector);
        var expected = new byte[Sector];
        var (from, at) = place < 0 ? (_origin, sector * Sector) : (store, place);
        if (at < from.Length)
            from.AsSpan((int)at, (int)Math.Min(Sector, from.Length - at)).CopyTo(expected);
        Require(_sector.AsSpan().SequenceEqual(expected), $"sector {sector} is what the format says");
    }

    private byte[] Make(int chunk)
    {
        File.Delete(_path);
        var random = new Random(chunk);
        using (var file = LinuxFile.CreateNew(_path))
        using (var sink = _format.Create(new ChangeSinkOptions
        {
            File = file,
            DeviceBytes = DeviceBytes,
            ChunkBytes = chunk,
            OriginUri = _originPath
        }))
        {
            sink.Begin();
            var content = new byte[4 * chunk];
            for (var start = 0; start < DeviceBytes; start += chunk * random.Next(1, 9))
            {
                random.NextBytes(content);
                var length = Math.Min(content.Length, DeviceBytes - start);
                sink.Write(start, content.AsSpan(0, length));
                start += length / chunk * chunk;
            }
            sink.Complete();
        }
        var made = File.ReadAllBytes(_path);
        Require(made.Length <= MaxStoreBytes, "bases are small");
        return made;
    }
}
