namespace Lincow.Tests.Engine;

/// <summary>An overlay's stream next to a stream in memory of the same length.</summary>
[Collection(nameof(Overlay))]
public sealed class OverlayStreamTests
{
    private const int Bytes = 1 << 20;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task It_behaves_as_a_stream_in_memory_does()
    {
        var seed = Environment.TickCount;
        var random = new Random(seed);
        await using var overlay = await Overlay.OpenAsync(new OverlayOptions { Origin = $"zero:{Bytes}" }, Stop);
        using var stream = overlay.OpenStream();
        using var model = new MemoryStream(new byte[Bytes]);
        for (var step = 0; step < 400; step++)
        {
            switch (random.Next(7))
            {
                case 0:
                    var (origin, offset) = ((SeekOrigin)random.Next(3), random.Next(-Bytes, Bytes));
                    if (random.Next(2) == 0)
                        Same(() => stream.Seek(offset, origin), () => model.Seek(offset, origin));
                    else
                        stream.Position = model.Position = random.Next(Bytes);
                    break;
                case 1:
                    var content = Content(random);
                    Same(() => Wrote(stream, content), () => Wrote(model, content));
                    break;
                case 2:
                    content = Content(random);
                    if (model.Position + content.Length > Bytes)
                        break;
                    await stream.WriteAsync(content, Stop);
                    await model.WriteAsync(content, Stop);
                    break;
                case 3:
                    var (seen, expected) = (new byte[random.Next(200_000)], new byte[200_000]);
                    var count = stream.Read(seen);
                    Assert.Equal(model.Read(expected, 0, seen.Length), count);
                    Assert.True(seen.AsSpan(0, count).SequenceEqual(expected.AsSpan(0, count)), $"seed {seed}, step {step}");
                    break;
                case 4:
                    (seen, expected) = (new byte[random.Next(200_000)], new byte[200_000]);
                    count = await stream.ReadAsync(seen, Stop);
                    Assert.Equal(model.Read(expected, 0, seen.Length), count);
                    Assert.True(seen.AsSpan(0, count).SequenceEqual(expected.AsSpan(0, count)), $"seed {seed}, step {step}");
                    break;
                case 5:
                    Assert.Equal(model.ReadByte(), stream.ReadByte());
                    break;
                default:
                    await stream.FlushAsync(Stop);
                    break;
            }
            Assert.True(model.Position == stream.Position, $"seed {seed}, step {step}: {model.Position} and {stream.Position}");
        }
        stream.Position = 0;
        using var copy = new MemoryStream();
        await stream.CopyToAsync(copy, Stop);
        Assert.Equal(model.ToArray(), copy.ToArray());
    }

    [Fact]
    public async Task It_says_what_it_cannot_do()
    {
        await using var overlay = await Overlay.OpenAsync(new OverlayOptions { Origin = $"zero:{Bytes}" }, Stop);
        var stream = overlay.OpenStream();
        Assert.True(stream is { CanRead: true, CanWrite: true, CanSeek: true, Length: Bytes });
        Assert.Throws<NotSupportedException>(() => stream.SetLength(2 * Bytes));
        Assert.Throws<ArgumentOutOfRangeException>(() => stream.Position = -1);
        Assert.Throws<IOException>(() => stream.Seek(-1, SeekOrigin.Begin));
        stream.Position = Bytes - 1;
        Assert.Equal(28, Assert.Throws<OverlayIOException>(() => stream.Write([1, 2])).Errno);
        stream.Dispose();
        Assert.False(stream.CanRead || stream.CanWrite || stream.CanSeek);
        Assert.Throws<ObjectDisposedException>(() => stream.Read(new byte[1]));
        Assert.Throws<ObjectDisposedException>(() => stream.Write([1]));
        Assert.Throws<ObjectDisposedException>(() => stream.Length);
        Assert.Throws<ObjectDisposedException>(stream.Flush);
        // The overlay goes on.
        await overlay.WriteAsync(0, new byte[10], Stop);
    }

    private static byte[] Content(Random random)
    {
        var content = new byte[random.Next(200_000)];
        random.NextBytes(content);
        return content;
    }

    private static long Wrote(Stream stream, byte[] content)
    {
        stream.Write(content);
        return stream.Position;
    }

    /// <summary>Both do the same, or both refuse: a stream in memory says by NotSupportedException that it doesn't grow.</summary>
    private static void Same(Func<long> one, Func<long> other)
    {
        var (first, second) = (Outcome(one), Outcome(other));
        Assert.Equal(second, first);

        static long Outcome(Func<long> act)
        {
            try
            {
                return act();
            }
            catch (Exception e) when (e is IOException or NotSupportedException)
            {
                return -1;
            }
        }
    }
}
