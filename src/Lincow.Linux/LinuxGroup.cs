using System.Globalization;

namespace Lincow.Linux;

/// <summary>The system's groups.</summary>
internal static unsafe class LinuxGroup
{
    /// <summary>The number of a group, by its name or number; null when there is none of that name.</summary>
    public static uint? Find(string text)
    {
        // struct group: name and password, 8 bytes each, then the number.
        const int numberAt = 16;
        // (uint)-1 is nobody's: chown would take it for "as it is".
        if (uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
            return number < uint.MaxValue ? number : null;
        return text.Length > 0 && Libc.getgrnam(text) is var entry && entry != 0 ? *(uint*)(entry + numberAt) : null;
    }
}
