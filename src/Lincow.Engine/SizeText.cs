using System.Globalization;

namespace Lincow;

/// <summary>Sizes as people write and read them: bytes, or with K M G T P (powers of 1024).</summary>
internal static class SizeText
{
    private const string Suffixes = "KMGTPE";

    /// <summary>Parses "4096", "64K", "1.5G", "2TiB", "512s" is not one. Throws <see cref="LincowException"/>.</summary>
    public static long Parse(string text, string what)
    {
        var body = text.Trim();
        if (body.EndsWith("iB", StringComparison.OrdinalIgnoreCase))
            body = body[..^2];
        else if (body.EndsWith('B') || body.EndsWith('b'))
            body = body[..^1];
        var shift = 0;
        if (body.Length > 0 && Suffixes.IndexOf(char.ToUpperInvariant(body[^1]), StringComparison.Ordinal) is var index and >= 0)
        {
            shift = 10 * (index + 1);
            body = body[..^1];
        }
        if (!decimal.TryParse(body, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) || number < 0
            || number > (decimal)long.MaxValue / (1L << shift))
            throw new LincowException(ArgumentErrors.SizeMalformed(what, text));
        var bytes = number * (1L << shift);
        if (bytes != decimal.Truncate(bytes))
            throw new LincowException(ArgumentErrors.SizeFractional(what, text));
        return (long)bytes;
    }

    /// <summary>"4 KiB", "1.5 GiB", "512 bytes".</summary>
    public static string Format(long bytes)
    {
        if (bytes < 1024)
            return bytes == 1 ? "1 byte" : $"{bytes} bytes";
        var value = (double)bytes;
        var index = -1;
        while (value >= 1024 && index < Suffixes.Length - 1)
        {
            value /= 1024;
            index++;
        }
        return $"{value.ToString("0.##", CultureInfo.InvariantCulture)} {Suffixes[index]}iB";
    }
}
