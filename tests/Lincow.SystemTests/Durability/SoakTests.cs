using System.Diagnostics;
using System.Globalization;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Durability;

/// <summary>
/// Hours of work, if LINCOW_SOAK_SECONDS says so; seconds otherwise. A server gets load in rounds of a second, with clients that come and
/// go in every way; between rounds nobody is connected, every sector is judged, and memory, descriptors and threads have to be what they
/// were.
/// </summary>
public class SoakTests
{
    private const int Sectors = 4096, Connections = 4;

    /// <summary>Before these, the runtime's heap grows up to its first collections, by about 20 MiB, as any would.</summary>
    private const int WarmingVisits = 40_000;

    /// <summary>What heap and allocator may still settle by after that, however long the run is.</summary>
    private const long SettlingKiB = 4 << 10;

    [Fact]
    public void Memory_descriptors_and_threads_stay_flat_under_load()
    {
        var seconds = int.Parse(Environment.GetEnvironmentVariable("LINCOW_SOAK_SECONDS") ?? "20", CultureInfo.InvariantCulture);
        var seed = Seeds.Pick(72);
        var random = new Random(seed);
        using var scratch = new Scratch();
        var sectors = new StampedSectors(Sectors);
        File.WriteAllBytes(scratch["origin.img"], sectors.Content());
        Cli.Ok("create", scratch["o.cow"], "--origin", scratch["origin.img"]);
        using var server = LincowServer.Start(scratch, scratch["o.cow"]);
        var samples = new List<Sample>();
        var idleDescriptors = server.Descriptors;
        var (changes, visits) = (0L, 0L);
        Parallel.For(0, Connections, i =>
        {
            var visitor = new Random(seed + i);
            for (var visit = 0; visit < WarmingVisits / Connections; visit++)
                Visit(server.Uri, visitor);
        });
        for (var clock = Stopwatch.StartNew(); clock.Elapsed.TotalSeconds < seconds;)
        {
            using (var load = new StampedLoad(sectors, server.Uri, Connections, random.Next()))
            {
                for (var end = clock.Elapsed.TotalSeconds + 1; clock.Elapsed.TotalSeconds < end; visits++)
                    Visit(server.Uri, random);
                load.Stop();
                changes += load.Changes;
            }
            sectors.Flushed(sectors.BeforeFlush());
            sectors.Settle(server, $"seed {seed}, second {clock.Elapsed.TotalSeconds:F0}");
            samples.Add(Take(server, clock.Elapsed.TotalSeconds, idleDescriptors));
        }
        var facts = $"seed {seed}: {changes} changes, {visits} visits in {seconds} s; first {samples[0]}, last {samples[^1]}, "
            + $"at most {samples.Max(sample => sample.ResidentKiB)} KiB; {SlopePerHour(samples):F0} KiB an hour";
        TestContext.Current.TestOutputHelper?.WriteLine(facts);
        var quarter = Math.Max(1, samples.Count / 4);
        Assert.True(Growth(samples, quarter, sample => sample.ResidentKiB) <= SettlingKiB, facts);
        Assert.True(samples.TrueForAll(sample => sample.Descriptors == idleDescriptors), facts);
        // The kernel starts a thread for a file operation now and then, and ends it when it is idle.
        Assert.True(Growth(samples, quarter, sample => sample.Threads) <= 1, facts);
        server.Stop();
    }

    /// <summary>
    /// A client that comes, maybe asks for something, and goes: politely, without a word, with answers unread, or amid its handshake.
    /// </summary>
    private static void Visit(string uri, Random random)
    {
        var manner = random.Next(6);
        if (manner == 0)
        {
            using var rude = new RawClient(uri);
            return;
        }
        if (manner == 1)
        {
            using var asking = new RawClient(uri);
            asking.Greet(RawClient.FixedNewstyle | RawClient.NoZeroes);
            asking.Option(RawClient.List, []);
            asking.OptionReply(RawClient.List);
            return;
        }
        using var client = RawClient.Ready(uri);
        var (offset, length) = ((ulong)random.Next(Sectors * StampedSectors.SectorBytes / 2), (uint)random.Next(1, 512 << 10));
        if (manner == 2)
        {
            for (var i = 0; i < 4; i++)
                client.Send(RawClient.Request(RawClient.Read, client.NextCookie(), offset, length));
            return;
        }
        Assert.Equal(0u, client.Ask(RawClient.Read, offset, length).Error);
        if (manner == 3)
            client.Send(RawClient.Request(RawClient.Disconnect, client.NextCookie(), 0, 0));
    }

    /// <summary>When the last client has left, which the server may take a moment to notice.</summary>
    private static Sample Take(LincowServer server, double seconds, int idleDescriptors)
    {
        SpinWait.SpinUntil(() => server.Descriptors == idleDescriptors, TimeSpan.FromSeconds(5));
        return new Sample(seconds, server.ResidentKiB, server.Descriptors, server.Threads);
    }

    /// <summary>From the median of the first samples to that of the last ones.</summary>
    private static long Growth(List<Sample> samples, int count, Func<Sample, long> what)
    {
        var (first, last) = (samples.Take(count).Select(what).Order().ToList(), samples.TakeLast(count).Select(what).Order().ToList());
        return last[count / 2] - first[count / 2];
    }

    /// <summary>The straight line with the least squares.</summary>
    private static double SlopePerHour(List<Sample> samples)
    {
        var (x, y) = (samples.Average(sample => sample.Seconds), samples.Average(sample => sample.ResidentKiB));
        var spread = samples.Sum(sample => (sample.Seconds - x) * (sample.Seconds - x));
        return spread == 0 ? 0 : 3600 * samples.Sum(sample => (sample.Seconds - x) * (sample.ResidentKiB - y)) / spread;
    }

    private sealed record Sample(double Seconds, long ResidentKiB, int Descriptors, int Threads);
}
