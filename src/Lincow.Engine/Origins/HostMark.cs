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

    /// <summary>
    /// The mark for an overlay that this user makes or vouches for; 0, which is none, where no key can be kept. Throws
    /// <see cref="LinuxException"/> when this can't be told now (no descriptors, for example).
    /// </summary>
    public static ulong Of(Guid overlay, string originUri, string dataPath)
    {
        Span<byte> key = stackalloc byte[KeyBytes];
        return WhyNoKey(key, mayMake: true) is null ? Compute(key, overlay, originUri, dataPath) : 0;
    }

    /// <summary>
    /// Why this user's overlays can't be marked, a part of a sentence; null when they can. Makes the key, as <see cref="Of"/>.
    /// </summary>
    public static string? WhyUnkept() => WhyNoKey(stackalloc byte[KeyBytes], mayMake: true);

    /// <summary>
    /// Why a mark doesn't show that the paths are this user's, a part of a sentence; null when it does. Throws
    /// <see cref="LinuxException"/> when this can't be told now (no descriptors, for example).
    /// </summary>
    /// <param name="file">The file that it lies in: its owner is named.</param>
    /// <param name="mark">The mark; 0 when there is none.</param>
    /// <param name="overlay">The overlay's uuid.</param>
    /// <param name="originUri">The one path.</param>
    /// <param name="dataPath">The other.</param>
    public static string? WhyForeign(LinuxFile file, ulong mark, Guid overlay, string originUri, string dataPath) =>
        WhyForeign(mark, overlay, originUri, dataPath) is not { } why ? null
        : IsOthers(file, out var owner) ? $"it belongs to the user {LinuxPath.UserName(owner)}, and only their own word is followed" : why;

    /// <summary>
    /// Whether somebody else's overlay is used at the moment (root's way with a user's, or the other way round): its mark is theirs, and
    /// stays, so that they can go on afterwards.
    /// </summary>
    public static bool IsLent(LinuxFile file, ulong mark) => mark != 0 && IsOthers(file, out _);

    // A block device belongs to nobody in particular.
    private static bool IsOthers(LinuxFile file, out uint owner) =>
        (owner = LinuxPath.OwnerOf(file.OwnPath) ?? LinuxPath.ThisUser) != LinuxPath.ThisUser && file.Facts.Kind == FileKind.Regular;

    internal static string? WhyForeign(ulong mark, Guid overlay, string originUri, string dataPath)
    {
        Span<byte> key = stackalloc byte[KeyBytes];
        if (mark == 0)
            return "it was made where no key could be kept that would show whose it is";
        if (WhyNoKey(key, mayMake: false) is { } problem)
            return problem + ", so nothing shows that this user made it";
        // mutation: mark-of-any-path
        return Compute(key, overlay, originUri, dataPath) == mark ? null
            : $"this user didn't make it on this machine, or had another key then than {KeyPath()}";
    }

    /// <summary>
    /// Where the key lies: $XDG_STATE_HOME/lincow/key, without that variable /var/lib/lincow/key for root and ~/.local/state/lincow/key for
    /// others. The home is $HOME, or else the password database's. Null when there is none.
    /// </summary>
    public static string? KeyPath()
    {
        const string ofMachine = "/var/lib";
        var state = Environment.GetEnvironmentVariable("XDG_STATE_HOME") is { Length: > 0 } named && Path.IsPathRooted(named) ? named
            // Root of a user namespace has what is the machine's root's only where that is its own.
            : LinuxProcess.IsMachineRoot || (Environment.IsPrivilegedProcess && LinuxPath.CanHaveDirectory(ofMachine + "/lincow"))
                ? ofMachine
            : Environment.GetFolderPath(Environment.SpecialFolder.UserProfile, Environment.SpecialFolderOption.DoNotVerify)
                is { Length: > 0 } home ? Path.Combine(home, ".local/state")
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

    // Null when the key is there and has been read. What may be otherwise in a moment is no answer.
    private static string? WhyNoKey(Span<byte> key, bool mayMake)
    {
        if (KeyPath() is not { } path)
            return "this user has no home directory for a key";
        try
        {
            if (!Path.Exists(path))
            {
                if (!mayMake)
                    return $"there is no key {path}";
                Make(path);
            }
            using var file = LinuxFile.Open(path, writable: false);
            return file.Facts.Kind == FileKind.Regular && file.Read(key, 0) == KeyBytes ? null : $"{path} is no key";
        }
        // mutation: no-descriptors-no-key
        catch (LinuxException e) when (e.Errno is not (Errno.TooManyFiles or Errno.TooManyFilesOfSystem or Errno.NoMemory or Errno.IO))
        {
            return $"the key {path} can't be {(mayMake ? "kept" : "read")} ({e.Reason})";
        }
        catch (Exception e) when (e is UnauthorizedAccessException || (e is IOException and not LinuxException))
        {
            return $"the key {path} can't be {(mayMake ? "kept" : "read")} ({Reason(e)})";
        }
    }

    private static string Reason(Exception e) => e is UnauthorizedAccessException ? Errno.Describe(Errno.Access)
        : (e.HResult & 0xffff) is > 0 and < 256 and var errno ? Errno.Describe(errno) : e.Message;

    // Whole before it has its name; of two that are made at once, the first stays.
    private static void Make(string path)
    {
        // Not what others may write to.
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
