namespace Lincow.Fuzz;

/// <summary>Makes new inputs out of old ones, for the short run without AFL++.</summary>
internal sealed class Mutator(Random random, IReadOnlyList<byte[]> corpus)
{
    private const int MaxBytes = 2048;

    public byte[] Next()
    {
        var bytes = new List<byte>(corpus.Count == 0 || random.Next(16) == 0 ? [] : corpus[random.Next(corpus.Count)]);
        for (var count = 1 << random.Next(5); count > 0; count--)
            Change(bytes);
        if (bytes.Count > MaxBytes)
            bytes.RemoveRange(MaxBytes, bytes.Count - MaxBytes);
        return [.. bytes];
    }

    private void Change(List<byte> bytes)
    {
        var at = random.Next(bytes.Count + 1);
        var count = Math.Min(1 << random.Next(6), bytes.Count - at);
        switch (random.Next(7))
        {
            case 0 when at < bytes.Count:
                bytes[at] ^= (byte)(1 << random.Next(8));
                break;
            case 1 when at < bytes.Count:
                bytes[at] = (byte)random.Next(256);
                break;
            case 2 when at < bytes.Count:
                bytes[at] += (byte)random.Next(-16, 17);
                break;
            case 3:
                bytes.RemoveRange(at, count);
                break;
            case 4:
                bytes.InsertRange(at, bytes.GetRange(random.Next(bytes.Count - count + 1), count));
                break;
            case 5 when corpus.Count > 0:
                // What follows is another input's.
                var other = corpus[random.Next(corpus.Count)];
                bytes.RemoveRange(at, bytes.Count - at);
                bytes.AddRange(other.AsSpan(Math.Min(at, other.Length)));
                break;
            default:
                var noise = new byte[1 + random.Next(12)];
                random.NextBytes(noise);
                bytes.InsertRange(at, noise);
                break;
        }
    }
}
