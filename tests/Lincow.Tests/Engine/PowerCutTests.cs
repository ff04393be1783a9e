using System.Buffers.Binary;
using Lincow.Device;

namespace Lincow.Tests.Engine;

/// <summary>
/// Many requests in flight, power cuts at any moment, and a model that knows for each sector every content that it may hold afterwards: what was
/// flushed, or anything written since. Replay one run with LINCOW_SEED.
/// </summary>
public class PowerCutTests
{
    private const int Sector = 512;

    /// <summary>Runs in a test; each is a few dozen operations with a cut or two.</summary>
    private const int Seeds = 6000;

    [Fact]
    public void Flushed_data_survives_any_cut_and_unflushed_sectors_are_old_or_new()
    {
        var only = Environment.GetEnvironmentVariable("LINCOW_SEED");
        var seeds = only is null ? Enumerable.Range(1, Seeds) : [int.Parse(only, System.Globalization.CultureInfo.InvariantCulture)];
        foreach (var seed in seeds)
        {
            try
            {
                new Run(seed).Play();
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"seed {seed}: replay with LINCOW_SEED={seed}: {e.Message}", e);
            }
        }
    }

    private sealed class Run
    {
        private readonly Random _random;
        private readonly OverlayShape _shape;
        private readonly TestOverlay _overlay;
        private readonly List<Version>[] _history;
        private readonly HashSet<Pending> _pending = [];
        private ulong _stamp;
        private long _clock;

        public Run(int seed)
        {
            _random = new Random(seed);
            var sectors = _random.Next(8, 300);
            var originSectors = _random.Next(sectors + 1);
            _shape = new OverlayShape(sectors * (long)Sector, _random.Next(9, 15), _random.Next(2) == 0, originSectors * (long)Sector);
            _overlay = new TestOverlay(_random, _shape);
            _history = new List<Version>[sectors];
            Remember(_overlay.OriginContent);
        }

        public void Play()
        {
            for (var session = 0; session < 3; session++)
            {
                var operations = _random.Next(1, 60);
                for (var i = 0; i < operations; i++)
                {
                    Submit();
                    for (var turns = _random.Next(6); turns > 0; turns--)
                        _overlay.World.Turn();
                }
                if (_random.Next(4) == 0)
                    Drain();
                if (_random.Next(4) == 0)
                    CloseAndReset();
                else
                    _overlay.CutPower();
                _pending.Clear();
                _overlay.Open();
                Verify();
            }
            Assert.Empty(_overlay.Reports);
            _overlay.Dispose();
        }

        private void Drain()
        {
            while (_overlay.World.PendingCount > 0)
                _overlay.World.Turn();
            Assert.Empty(_pending);
        }

        private void CloseAndReset()
        {
            Drain();
            Assert.Equal(0, _overlay.Close());
            _overlay.Open();
            foreach (var versions in _history)
                versions.RemoveRange(0, versions.Count - 1);
            if (_random.Next(2) == 0)
            {
                _overlay.Reset();
                Remember(_overlay.OriginContent);
            }
            _overlay.CutPower();
        }

        private void Submit()
        {
            var first = _random.Next(_history.Length);
            var count = Math.Min(_random.Next(1, _random.Next(3) == 0 ? 60 : 6), _history.Length - first);
            var kind = _random.Next(20);
            var request = new TestRequest { ByteOffset = first * (long)Sector, ByteLength = count * (long)Sector };
            request.Operation = kind switch
            {
                < 10 => BlockOperation.Write,
                < 12 => BlockOperation.Discard,
                < 13 => BlockOperation.WriteZeroes,
                < 17 => BlockOperation.Read,
                _ => BlockOperation.Flush,
            };
            if (request.IsWrite && _random.Next(6) == 0)
                request.Flags = BlockFlags.ForceUnitAccess;
            var pending = new Pending(request, first, count, ++_clock);
            var expected = new ulong[count];
            for (var i = 0; i < count; i++)
            {
                expected[i] = _history[first + i][^1].Stamp;
                if (!request.IsWrite)
                    continue;
                var stamp = request.Operation == BlockOperation.Write ? ++_stamp : 0;
                if (stamp > 0)
                    Fill(request.Content.Slice(i * Sector, Sector), stamp);
                _history[first + i].Add(new Version(stamp) { Writer = pending });
            }
            _pending.Add(pending);
            request.Completed = result => Completed(pending, result, expected);
            request.SubmitTo(_overlay.Device);
        }

        private void Completed(Pending pending, int result, ulong[] expected)
        {
            Assert.Equal(0, result);
            _pending.Remove(pending);
            pending.CompletedAt = ++_clock;
            var request = pending.Request;
            if (request.Operation == BlockOperation.Read)
            {
                for (var i = 0; i < pending.Count; i++)
                    Assert.Equal(expected[i], Stamp(request.Content.Slice(i * Sector, Sector)));
            }
            else if (request.Operation == BlockOperation.Flush)
            {
                foreach (var versions in _history)
                    Settle(versions, version => version.Writer is null || version.Writer.CompletedAt < pending.SubmittedAt);
            }
            else if ((request.Flags & BlockFlags.ForceUnitAccess) != 0)
            {
                for (var i = 0; i < pending.Count; i++)
                    Settle(_history[pending.First + i], version => version.Writer == pending);
            }
            request.Dispose();
        }

        // What is known to be stable replaces everything older.
        private static void Settle(List<Version> versions, Predicate<Version> isStable)
        {
            var last = versions.FindLastIndex(isStable);
            if (last > 0)
                versions.RemoveRange(0, last);
        }

        private void Verify()
        {
            var content = _overlay.Read(0, (int)_shape.DeviceBytes);
            for (var i = 0; i < _history.Length; i++)
            {
                var sector = content.AsSpan(i * Sector, Sector);
                var found = Stamp(sector);
                var allowed = _history[i].Select(version => version.Stamp).ToHashSet();
                if (!allowed.Contains(found))
                    throw new InvalidOperationException($"sector {i} holds {found}, and may hold {string.Join(" or ", allowed)}");
                _history[i] = [new Version(found)];
            }
        }

        private void Remember(byte[] content)
        {
            for (var i = 0; i < _history.Length; i++)
                _history[i] = [new Version(Stamp(content.AsSpan(i * Sector, Sector)))];
        }

        private static void Fill(Span<byte> sector, ulong stamp)
        {
            for (var i = 0; i < Sector; i += 8)
                BinaryPrimitives.WriteUInt64LittleEndian(sector[i..], stamp);
        }

        // A stamped sector's stamp; any other content's hash, which no stamp equals.
        private static ulong Stamp(ReadOnlySpan<byte> sector)
        {
            var first = BinaryPrimitives.ReadUInt64LittleEndian(sector);
            for (var i = 8; i < Sector; i += 8)
            {
                if (BinaryPrimitives.ReadUInt64LittleEndian(sector[i..]) != first)
                    return System.IO.Hashing.XxHash3.HashToUInt64(sector) | 1UL << 63;
            }
            return first;
        }
    }

    private sealed record Version(ulong Stamp)
    {
        public Pending? Writer { get; init; }
    }

    private sealed class Pending(TestRequest request, int first, int count, long submittedAt)
    {
        public TestRequest Request { get; } = request;

        public int First { get; } = first;

        public int Count { get; } = count;

        public long SubmittedAt { get; } = submittedAt;

        public long CompletedAt { get; set; } = long.MaxValue;
    }
}
