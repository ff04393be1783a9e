using System.Globalization;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Durability;

/// <summary>
/// Power cuts on a real block device: in a guest with Debian 13's kernel the binary works on a dm-log-writes device
/// (tests/guest/log-writes.py), and here each state in which a power cut could have left that device is looked at: at every flush and FUA
/// exactly what was durable, and then with a part of what came after it, sector by sector. Each has to be sound for check, and to hold
/// every sector that was flushed by then, through a reader and through a writer that recovers it.
/// </summary>
public class WriteLogTests
{
    private const int Flushes = 99;

    /// <summary>Chunks in a page of the map (docs/format.md).</summary>
    private const int PageChunks = 15616;

    /// <summary>A recovery takes longer than a look.</summary>
    private const int StatesForARecovery = 5;

    [Theory]
    [InlineData("writeback", 1 << 10)]
    [InlineData("none", 4 << 10)]
    public void Every_state_that_a_power_cut_leaves_of_a_block_device_is_sound_and_has_what_was_flushed(string cache, int chunkBytes)
    {
        var seed = Seeds.Pick(cache.Length);
        using var scratch = new Scratch();
        // Three pages of the map, and a range across two of them.
        var page = PageChunks * (chunkBytes / StampedSectors.SectorBytes);
        (int Start, int Count)[] regions = [(0, 256), (page - 100, 256), (2 * page, 256)];
        var diskBytes = (long)(page * 2 + 8192) * StampedSectors.SectorBytes;
        var (disk, log) = (scratch.Sparse("disk.img", diskBytes), scratch.Sparse("log.img", 4L << 30));
        WriteOrigin(scratch["origin.img"], regions);
        var places = string.Join(' ', regions.Select(region => $"{region.Start}+{region.Count}"));
        Guest.Run(scratch, "log-writes.py", $"""
            dmsetup create log --table "0 {diskBytes / StampedSectors.SectorBytes} log-writes /dev/vda /dev/vdb"
            /usr/bin/python3 /tmp/log-writes.py /tmp/lincow /dev/mapper/log /run/share/origin.img /tmp/journal \
                {seed} {Flushes} {cache} {chunkBytes} {places}
            cp /tmp/journal /run/share/
            dmsetup remove log
            """, disk, log);

        var journal = new FlushJournal(scratch["journal"], regions.SelectMany(region => Enumerable.Range(region.Start, region.Count)));
        var replay = new Replay(scratch, regions, journal, scratch.Sparse("state.img", diskBytes), seed);
        replay.Play(log);
        Assert.True(replay.States > 2 * Flushes && replay.Recoveries > 0, $"{replay.States} states of {Flushes} flushes are too few");
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}: {replay.States} flush points, {replay.Recoveries} recoveries of "
            + "torn states");
    }

    private static void WriteOrigin(string path, (int Start, int Count)[] regions)
    {
        using var file = File.Create(path);
        var sector = new byte[StampedSectors.SectorBytes];
        foreach (var (start, count) in regions)
        {
            for (var i = start; i < start + count; i++)
            {
                StampedSectors.Fill(sector, i, 0);
                file.Position = (long)i * sector.Length;
                file.Write(sector);
            }
        }
    }

    private sealed class Replay(Scratch scratch, (int Start, int Count)[] regions, FlushJournal journal, string state, int seed)
    {
        private readonly Random _random = new(seed);

        public int States { get; private set; }

        public int Recoveries { get; private set; }

        public void Play(string log)
        {
            using var reader = new WriteLog(log);
            using var disk = new FileStream(state, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
            var unflushed = new List<WriteLog.Entry>();
            foreach (var entry in reader.Entries())
            {
                if (entry.Mark is { } mark)
                {
                    if (mark != WriteLog.End)
                        journal.GoTo(int.Parse(mark, CultureInfo.InvariantCulture));
                    continue;
                }
                unflushed.Add(entry);
                if (!entry.IsDurable)
                    continue;
                // The disk as it was before this flush is on it, with some of what the flush is about to make durable.
                if (journal.HasBegun && States % StatesForARecovery == 0)
                    Recover(unflushed);
                foreach (var durable in unflushed)
                    durable.ApplyTo(disk);
                unflushed.Clear();
                if (journal.HasBegun)
                    Look();
            }
            Assert.True(journal.IsAtEnd, "the log ends before its journal does");
        }

        private string Where => $"seed {seed}, flush point {States}, after mark {journal.Mark}";

        private void Look()
        {
            States++;
            AssertSound(state);
            using var server = LincowServer.Start(scratch, state, "--read-only", "--origin", scratch["origin.img"]);
            AssertContent(server);
        }

        private void Recover(List<WriteLog.Entry> unflushed)
        {
            Recoveries++;
            var torn = scratch["torn.img"];
            Tool.Ok("cp", "--sparse=always", state, torn);
            using (var disk = new FileStream(torn, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0))
            {
                foreach (var entry in unflushed)
                    entry.ApplySomeTo(disk, _random);
            }
            AssertSound(torn);
            using (var server = LincowServer.Start(scratch, torn, "--origin", scratch["origin.img"]))
            {
                AssertContent(server);
                server.Stop();
            }
            AssertSound(torn);
            Assert.True(Cli.Info(torn).Clean, Where);
            using var again = LincowServer.Start(scratch, torn, "--read-only");
            AssertContent(again);
        }

        private void AssertSound(string overlay)
        {
            var result = Cli.Run("check", overlay);
            Assert.True(result.ExitCode == 0, $"{Where}: {result}");
        }

        private void AssertContent(LincowServer server)
        {
            using var client = RawClient.Ready(server.Uri);
            var content = regions.SelectMany(region =>
            {
                var (error, data) = client.Ask(RawClient.Read, (ulong)region.Start * StampedSectors.SectorBytes,
                    (uint)region.Count * StampedSectors.SectorBytes);
                Assert.True(error == 0, $"{Where}: error {error}");
                return data;
            }).ToArray();
            if (journal.Judge(content) is { } complaint)
                Assert.Fail($"{Where}: {complaint}");
        }
    }
}
