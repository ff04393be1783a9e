using System.Buffers.Binary;
using System.Text;

namespace Lincow.SystemTests.Harness;

/// <summary>
/// The log of a dm-log-writes device (admin-guide/device-mapper/log-writes in the kernel's documentation; structs in
/// drivers/md/dm-log-writes.c). Writes are in it only once a flush has made them durable, in front of that flush; so what precedes a flush
/// or FUA is what a disk with a volatile cache is sure to hold then, and what comes between two flushes is what it may hold in any part.
/// </summary>
internal sealed class WriteLog : IDisposable
{
    /// <summary>The mark that the target itself leaves when it goes.</summary>
    public const string End = "dm-log-writes-end";

    private const ulong Magic = 0x6a736677736872;

    private const int HeaderBytes = 32;

    private readonly FileStream _log;
    private readonly int _sectorBytes;

    public WriteLog(string path)
    {
        _log = File.OpenRead(path);
        var super = new byte[28];
        _log.ReadExactly(super);
        Assert.Equal((Magic, 1UL), (BinaryPrimitives.ReadUInt64LittleEndian(super),
            BinaryPrimitives.ReadUInt64LittleEndian(super.AsSpan(8))));
        EntryCount = BinaryPrimitives.ReadInt64LittleEndian(super.AsSpan(16));
        _sectorBytes = BinaryPrimitives.ReadInt32LittleEndian(super.AsSpan(24));
    }

    [Flags]
    internal enum Kinds
    {
        Flush = 1,
        ForceUnitAccess = 2,
        Discard = 4,
        Mark = 8,
    }

    public long EntryCount { get; }

    public IEnumerable<Entry> Entries()
    {
        var header = new byte[_sectorBytes];
        long at = _sectorBytes;
        for (long i = 0; i < EntryCount; i++)
        {
            _log.Position = at;
            _log.ReadExactly(header);
            var (start, length) = (Field(header, 0) * _sectorBytes, Field(header, 8) * _sectorBytes);
            var kind = (Kinds)Field(header, 16);
            var data = kind.HasFlag(Kinds.Discard) || kind.HasFlag(Kinds.Mark) ? [] : new byte[length];
            _log.ReadExactly(data);
            var mark = kind.HasFlag(Kinds.Mark)
                ? Encoding.ASCII.GetString(header, HeaderBytes, (int)Field(header, 24)).TrimEnd('\0') : null;
            at += _sectorBytes + data.Length;
            yield return new Entry(kind, start, length, data, mark);
        }
    }

    public void Dispose() => _log.Dispose();

    private static long Field(byte[] header, int at) => BinaryPrimitives.ReadInt64LittleEndian(header.AsSpan(at));

    /// <summary>One request of the device; offsets and lengths in bytes.</summary>
    internal sealed record Entry(Kinds Kind, long Start, long Length, byte[] Data, string? Mark)
    {
        public bool IsDurable => (Kind & (Kinds.Flush | Kinds.ForceUnitAccess)) != 0;

        public void ApplyTo(FileStream disk)
        {
            disk.Position = Start;
            disk.Write(Content());
        }

        /// <summary>As a disk may that loses power amid the request: each sector or not.</summary>
        public void ApplySomeTo(FileStream disk, Random random)
        {
            var content = Content();
            for (var sector = 0; sector < content.Length; sector += StampedSectors.SectorBytes)
            {
                if (random.Next(2) == 0)
                    continue;
                disk.Position = Start + sector;
                disk.Write(content, sector, StampedSectors.SectorBytes);
            }
        }

        /// <summary>A discarded range may read as anything. So it does.</summary>
        private byte[] Content()
        {
            if (!Kind.HasFlag(Kinds.Discard))
                return Data;
            var rubbish = new byte[Length];
            rubbish.AsSpan().Fill(0xdd);
            return rubbish;
        }
    }
}
