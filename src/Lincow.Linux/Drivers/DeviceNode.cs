using System.Collections.Concurrent;

namespace Lincow.Linux;

/// <summary>
/// Nodes in /dev. The kernel makes those of new devices by itself, in its own /dev; a container that has a /dev of its own sees none of
/// them, so they are made there.
/// </summary>
internal static class DeviceNode
{
    private const uint Block = 0x6000, Character = 0x2000, OwnerReadsAndWrites = 0x180;

    /// <summary>Those that this process has made.</summary>
    private static readonly ConcurrentDictionary<string, bool> Made = new();

    /// <summary>Makes the node of a device of the kernel's, if it isn't there. Throws <see cref="IOException"/> where it can't.</summary>
    public static void Need(string path)
    {
        if (LinuxPath.Look(path) is not null)
            return;
        var name = Path.GetFileName(path);
        var (kind, numbers) = Numbers(Block, $"/sys/class/block/{name}/dev") ?? Numbers(Character, $"/sys/class/ublk-char/{name}/dev")
            ?? throw new IOException($"{path}: the kernel has no such device");
        if (Libc.mknod(path, kind | OwnerReadsAndWrites, Encode(numbers)) == 0)
            Made[path] = true;
        else if (Libc.LastError != Errno.Exists)
            throw new IOException($"{path}: isn't in this /dev and can't be made: {Errno.Describe(Libc.LastError)}. A container needs the "
                + "host's /dev, or the right to make nodes");
    }

    /// <summary>Removes the node, and those of partitions, as far as this process has made them.</summary>
    public static void RemoveMade(string path)
    {
        foreach (var made in Made.Keys.Where(made => made == path || made.StartsWith(path + "p", StringComparison.Ordinal)))
        {
            Made.TryRemove(made, out _);
            File.Delete(made);
        }
    }

    private static (uint Kind, (uint Major, uint Minor) Numbers)? Numbers(uint kind, string file) => File.Exists(file)
        && SoughtDevice.Parse(File.ReadAllText(file).Trim()) is var numbers && numbers != default ? (kind, numbers) : null;

    // dev_t as the C library takes it.
    private static ulong Encode((uint Major, uint Minor) numbers) => (ulong)(numbers.Major & 0xfff) << 8 | numbers.Minor & 0xff
        | (ulong)(numbers.Minor & ~0xffu) << 12 | (ulong)(numbers.Major & ~0xfffu) << 32;
}
