using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Unicode;

namespace Lincow.Linux;

/// <summary>
/// Names on Linux are bytes, and names in .NET are text: whatever isn't UTF-8 arrives with U+FFFD in its place, which is another name, of a
/// file that doesn't exist or of somebody else's. So where a text has one, the bytes are looked at as the kernel has them. (They may be
/// UTF-8 all the same: U+FFFD is a character like any other.)
/// </summary>
internal static unsafe class NamesOfBytes
{
    private const char InPlace = '\uFFFD';

    private static ReadOnlySpan<byte> Arguments => File.ReadAllBytes("/proc/self/cmdline");

    /// <summary>The first of this process's arguments that isn't UTF-8, for people to read; null when all are.</summary>
    /// <param name="arguments">As they arrived.</param>
    public static string? WrongArgument(string[] arguments)
    {
        if (!Array.Exists(arguments, MayBeWrong))
            return null;
        var bytes = Arguments;
        foreach (var range in bytes.Split((byte)0))
        {
            if (Read(bytes[range]) is { } wrong)
                return wrong;
        }
        return null;
    }

    /// <summary>The value of an environment variable that isn't UTF-8, for people to read; null when it is, or isn't set.</summary>
    public static string? WrongVariable(string name)
    {
        if (Environment.GetEnvironmentVariable(name) is not { } text || !MayBeWrong(text))
            return null;
        // A program may have set another one than it was started with, which is text then.
        var value = Libc.getenv(name);
        return value is null ? null : Read(Bytes(value));
    }

    /// <summary>The names of the variables that this process was started with and whose values aren't UTF-8.</summary>
    public static List<string> WrongVariables()
    {
        var names = new List<string>();
        foreach (string name in Environment.GetEnvironmentVariables().Keys)
        {
            if (WrongVariable(name) is not null)
                names.Add(name);
        }
        names.Sort(string.CompareOrdinal);
        return names;
    }

    /// <summary>The current directory, for people to read, if its path isn't UTF-8; null when it is.</summary>
    public static string? WrongCurrentDirectory()
    {
        const int maxPathBytes = 4096;
        var buffer = stackalloc byte[maxPathBytes];
        return Libc.getcwd(buffer, maxPathBytes) is null ? null : Read(Bytes(buffer));
    }

    /// <summary>Whether a text may be a name whose bytes weren't UTF-8.</summary>
    public static bool MayBeWrong(string text) => text.Contains(InPlace, StringComparison.Ordinal);

    /// <summary>The bytes with what isn't UTF-8 as \xNN; null when all of them are.</summary>
    internal static string? Read(ReadOnlySpan<byte> bytes)
    {
        if (Utf8.IsValid(bytes))
            return null;
        var text = new StringBuilder();
        while (bytes.Length > 0)
        {
            if (Rune.DecodeFromUtf8(bytes, out var rune, out var count) == System.Buffers.OperationStatus.Done)
                text.Append(rune);
            else
                foreach (var wrong in bytes[..count])
                    text.Append(CultureInfo.InvariantCulture, $"\\x{wrong:x2}");
            bytes = bytes[count..];
        }
        return text.ToString();
    }

    private static ReadOnlySpan<byte> Bytes(byte* text) => MemoryMarshal.CreateReadOnlySpanFromNullTerminated(text);
}
