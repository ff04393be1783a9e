using System.Buffers.Binary;

namespace Lincow.SystemTests.Harness;

/// <summary>
/// What sectors of a device may hold after a crash. Every change of a sector has a version, and a written sector says its number and its
/// version over all its length, so that its content alone tells which change it is, and whether it is torn. Permitted is the version that
/// was flushed last, and whatever was asked for since. A sector has one change in flight at a time, so its versions are in order; sectors
/// are independent. May be used by several threads.
/// </summary>
internal sealed class StampedSectors
{
    public const int SectorBytes = 512;

    /// <summary>In the number that a sector says, so that no stamp is all zeroes.</summary>
    private const long Tag = 0x4c43L << 48;

    private readonly Lock _gate = new();
    private readonly long[] _numbers, _flushed, _first, _issued, _acknowledged;
    private readonly HashSet<long>[] _zeroes;

    /// <param name="numbers">The device's sectors that are used; they begin with version 0.</param>
    public StampedSectors(IEnumerable<long> numbers)
    {
        _numbers = [.. numbers];
        (_flushed, _issued, _acknowledged) = (new long[Count], new long[Count], new long[Count]);
        _first = [.. Enumerable.Repeat(1L, Count)];
        _zeroes = [.. _numbers.Select(_ => new HashSet<long>())];
    }

    /// <summary>The whole of a device that begins as <see cref="Content"/>.</summary>
    public StampedSectors(int count)
        : this(Enumerable.Range(0, count).Select(i => (long)i))
    {
    }

    public int Count => _numbers.Length;

    /// <summary>All sectors as they are in the beginning.</summary>
    public byte[] Content()
    {
        var content = new byte[Count * SectorBytes];
        for (var i = 0; i < Count; i++)
            Fill(content.AsSpan(i * SectorBytes), _numbers[i], 0);
        return content;
    }

    public long Number(int index) => _numbers[index];

    public static void Fill(Span<byte> sector, long number, long version)
    {
        for (var at = 0; at < SectorBytes; at += 16)
        {
            BinaryPrimitives.WriteInt64LittleEndian(sector[at..], Tag | number);
            BinaryPrimitives.WriteInt64LittleEndian(sector[(at + 8)..], version);
        }
    }

    /// <summary>Before a change is sent: its version.</summary>
    public long Issue(int index, bool isZero)
    {
        lock (_gate)
        {
            var version = ++_issued[index];
            if (isZero)
                _zeroes[index].Add(version);
            return version;
        }
    }

    /// <summary>The change has been answered.</summary>
    public void Acknowledge(int index, long version)
    {
        lock (_gate)
            _acknowledged[index] = version;
    }

    /// <summary>Before a flush is sent: what it covers.</summary>
    public long[] BeforeFlush()
    {
        lock (_gate)
            return [.. _acknowledged];
    }

    /// <summary>The flush has been answered.</summary>
    public void Flushed(long[] covered)
    {
        lock (_gate)
        {
            for (var i = 0; i < Count; i++)
                RaiseFlushed(i, covered[i]);
        }
    }

    /// <summary>A change with FUA has been answered.</summary>
    public void Flushed(int index, long version)
    {
        lock (_gate)
        {
            _acknowledged[index] = version;
            RaiseFlushed(index, version);
        }
    }

    /// <summary>The content is permitted: null. Otherwise a sentence.</summary>
    public string? Judge(int index, ReadOnlySpan<byte> content) => Find(index, content, out _);

    /// <summary>After a restart: the content has to be permitted, and is what the sector holds from now on.</summary>
    public string? Settle(int index, ReadOnlySpan<byte> content)
    {
        if (Find(index, content, out var version) is { } complaint)
            return complaint;
        Settle(index, version);
        return null;
    }

    /// <summary>Reads the whole of a served device: every sector has to be permitted, and is what it holds from now on.</summary>
    public void Settle(LincowServer server, string where)
    {
        using var client = RawClient.Ready(server.Uri);
        var (error, content) = client.Ask(RawClient.Read, 0, (uint)(Count * SectorBytes));
        Assert.Equal(0u, error);
        for (var i = 0; i < Count; i++)
        {
            if (Settle(i, content.AsSpan(i * SectorBytes, SectorBytes)) is { } complaint)
                Assert.Fail($"{where}: {complaint}");
        }
    }

    /// <summary>After a reset: every sector is the origin's again.</summary>
    public void BackToOrigin()
    {
        for (var i = 0; i < Count; i++)
            Settle(i, 0);
    }

    private void Settle(int index, long version)
    {
        lock (_gate)
        {
            (_flushed[index], _acknowledged[index], _first[index]) = (version, version, _issued[index] + 1);
            _zeroes[index].RemoveWhere(zero => zero != version);
        }
    }

    private void RaiseFlushed(int index, long version)
    {
        if (version < _first[index])
            return;
        _flushed[index] = Math.Max(_flushed[index], version);
        _first[index] = Math.Max(_first[index], version + 1);
    }

    private string? Find(int index, ReadOnlySpan<byte> content, out long version)
    {
        lock (_gate)
        {
            version = -1;
            if (content.IndexOfAnyExcept((byte)0) < 0)
            {
                version = _zeroes[index].Where(zero => IsPermitted(index, zero)).DefaultIfEmpty(-1).Max();
                return version >= 0 ? null : Complaint(index, "zeroes");
            }
            var (number, found) = (BinaryPrimitives.ReadInt64LittleEndian(content) & ~Tag,
                BinaryPrimitives.ReadInt64LittleEndian(content[8..]));
            Span<byte> whole = stackalloc byte[SectorBytes];
            Fill(whole, number, found);
            if (number != _numbers[index] || !content.SequenceEqual(whole))
                return Complaint(index, $"something torn or foreign (it begins as version {found} of sector {number})");
            version = found;
            return IsPermitted(index, found) && !_zeroes[index].Contains(found) ? null : Complaint(index, $"version {found}");
        }
    }

    private bool IsPermitted(int index, long version) =>
        version == _flushed[index] || (version >= _first[index] && version <= _issued[index]);

    private string Complaint(int index, string found) =>
        $"sector {_numbers[index]} holds {found}; version {_flushed[index]} was flushed, {_first[index]} to {_issued[index]} were asked "
            + "for since"
        + (_zeroes[index].Contains(_flushed[index]) ? " (the flushed one is zeroes)" : "");
}
