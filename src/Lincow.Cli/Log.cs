using System.Collections.Concurrent;

namespace Lincow.Cli;

/// <summary>
/// What a serving process has to say to people. Standard error may be a pipe that nobody reads, and who serves must not wait for it: a
/// thread of its own writes, and beyond a bound sentences are left out and counted. A process that doesn't serve writes at once.
/// </summary>
internal static class Log
{
    /// <summary>Sentences that may wait to be written.</summary>
    private const int MaxWaiting = 1024;

    /// <summary>How long the end of the process waits for a reader.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private static readonly BlockingCollection<string> Waiting = new(MaxWaiting);
    private static readonly Lock Gate = new();
    private static Thread? s_writer;
    private static long s_said, s_written, s_leftOut;

    /// <summary>From here on nobody waits for whoever reads.</summary>
    public static void Begin()
    {
        lock (Gate)
        {
            if (s_writer is not null)
                return;
            s_writer = new Thread(WriteAll) { IsBackground = true, Name = "lincow-log" };
            s_writer.Start();
        }
    }

    public static void Say(string line)
    {
        // mutation: log-is-waited-for
        if (s_writer is null)
        {
            Write(line);
            return;
        }
        Interlocked.Increment(ref s_said);
        if (Waiting.TryAdd(line))
            return;
        Interlocked.Decrement(ref s_said);
        Interlocked.Increment(ref s_leftOut);
    }

    /// <summary>Waits until everything has been written, or nobody has read for a while.</summary>
    public static void Drain()
    {
        var (written, since) = (Interlocked.Read(ref s_written), Environment.TickCount64);
        while (s_writer is not null && Interlocked.Read(ref s_written) < Interlocked.Read(ref s_said))
        {
            Thread.Sleep(1);
            if (Interlocked.Read(ref s_written) is var now && now != written)
                (written, since) = (now, Environment.TickCount64);
            else if (Environment.TickCount64 - since > Patience.TotalMilliseconds)
                return;
        }
    }

    private static void WriteAll()
    {
        foreach (var line in Waiting.GetConsumingEnumerable())
        {
            Write(line);
            if (Waiting.Count == 0 && Interlocked.Exchange(ref s_leftOut, 0) is > 0 and var count)
                Write($"lincow: {count} messages were left out, for nobody read the ones before them");
            Interlocked.Increment(ref s_written);
        }
    }

    private static void Write(string line)
    {
        try
        {
            Console.Error.WriteLine(line);
        }
        catch (IOException)
        {
            // A log on a full disk must not end the service.
        }
    }
}
