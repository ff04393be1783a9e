using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using Lincow.Linux;

namespace Lincow.Origins;

/// <summary>
/// Shows that the paths in an overlay, of its origin and of its data, were written by this user on this machine. An overlay from elsewhere
/// can name any file; followed, that path would show the file to whoever uses the device. So a path is followed only under a mark:
/// SipHash-2-4, a MAC for short messages (Aumasson and Bernstein, 2012), over the overlay's uuid and both paths, with a key that never
/// leaves its file.
///
/// The mark travels with the overlay, so copies and block devices need no ceremony here, and are strangers elsewhere.
/// </summary>
internal static class HostMark
{
    public const int KeyBytes = 16;

    /// <summary>The mark for an overlay that this user makes or vouches for; 0, which is none, where no key can be kept.</summary>
    public static ulong Of(Guid overlay, string originUri, string dataPath)
    {
        Span<byte> key = stackalloc byte[KeyBytes];
        return TryReadKey(key, mayMake: true) ? Compute(key, overlay, originUri, dataPath) : 0;
    }

    /// <summary>Whether a mark is one of this user's on this machine.</summary>
    public static bool IsOwn(ulong mark, Guid overlay, string originUri, string dataPath)
    {
        Span<byte> key = stackalloc byte[KeyBytes];
        // mutation: mark-of-any-path
        return mark != 0 && TryReadKey(key, mayMake: false) && Compute(key, overlay, originUri, dataPath) == mark;
    }

    /// <summary>
    /// Where the key lies: $XDG_STATE_HOME/lincow/key, without that variable /var/lib/lincow/key for root and ~/.local/state/lincow/key for
    /// others.
    /// </summary>
    public static string? KeyPath()
    {
        var state = Environment.GetEnvironmentVariable("XDG_STATE_HOME") is { Length: > 0 } named && Path.IsPathRooted(named) ? named
            : Environment.IsPrivilegedProcess ? "/var/lib"
            : Environment.GetEnvironmentVariable("HOME") is { Length: > 0 } home ? Path.Combine(home, ".local/state")
            : null;
        return state is null ? null : Path.Combine(state, "lincow", "key");
    }

    private static ulong Compute(ReadOnlySpan<byte> key, Guid overlay, string originUri, string dataPath)
    {
        var (origin, data) = (Encoding.UTF8.GetBytes(originUri), Encoding.UTF8.GetBytes(dataPath));
        var message = new byte[20 + origin.Length + data.Length];
        overlay.TryWriteBytes(message, bigEndian: true, out _);
        BinaryPrimitives.WriteInt32LittleEndian(message.AsSpan(16), origin.Length);
        origin.CopyTo(message, 20);
        data.CopyTo(message, 20 + origin.Length);
        return Math.Max(1, SipHash(key, message));
    }

    /// <summary>SipHash-2-4 with 64 bits of output.</summary>
    internal static ulong SipHash(ReadOnlySpan<byte> key, ReadOnlySpan<byte> message)
    {
        var (k0, k1) = (BinaryPrimitives.ReadUInt64LittleEndian(key), BinaryPrimitives.ReadUInt64LittleEndian(key[8..]));
        var (v0, v1, v2, v3) = (k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573);
        Span<byte> last = stackalloc byte[8];
        message[(message.Length & ~7)..].CopyTo(last);
        last[7] = (byte)message.Length;
        for (var at = 0; at <= message.Length; at += 8)
        {
            var word = BinaryPrimitives.ReadUInt64LittleEndian(at + 8 <= message.Length ? message[at..] : last);
            v3 ^= word;
            Rounds(2);
            v0 ^= word;
        }
        v2 ^= 0xff;
        Rounds(4);
        return v0 ^ v1 ^ v2 ^ v3;

        void Rounds(int count)
        {
            for (; count > 0; count--)
            {
                v0 += v1;
                v2 += v3;
                v1 = BitOperations.RotateLeft(v1, 13) ^ v0;
                v3 = BitOperations.RotateLeft(v3, 16) ^ v2;
                v0 = BitOperations.RotateLeft(v0, 32);
                v2 += v1;
                v0 += v3;
                v1 = BitOperations.RotateLeft(v1, 17) ^ v2;
                v3 = BitOperations.RotateLeft(v3, 21) ^ v0;
                v2 = BitOperations.RotateLeft(v2, 32);
            }
        }
    }

    private static bool TryReadKey(Span<byte> key, bool mayMake)
    {
        if (KeyPath() is not { } path)
            return false;
        try
        {
            if (!File.Exists(path))
            {
                if (!mayMake)
                    return false;
                Make(path);
            }
            using var file = LinuxFile.Open(path, writable: false);
            return file.Facts.Kind == FileKind.Regular && file.Read(key, 0) == KeyBytes;
        }
        catch (Exception e) when (e is LinuxException or IOException or UnauthorizedAccessException)
        {
            // No place for a key: overlays stay unmarked, and need the user's word each time.
            return false;
        }
    }

    // Whole before it has its name; of two that are made at once, the first stays.
    private static void Make(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        var temporary = $"{path}.{Guid.NewGuid():N}";
        Span<byte> key = stackalloc byte[KeyBytes];
        using (var random = LinuxFile.Open("/dev/urandom", writable: false))
            random.Read(key, 0);
        try
        {
            using (var file = LinuxFile.CreateNew(temporary))
            {
                file.Write(key, 0);
                file.Sync();
            }
            File.Move(temporary, path, overwrite: false);
        }
        catch (IOException) when (File.Exists(path))
        {
        }
        finally
        {
            File.Delete(temporary);
        }
    }
}
