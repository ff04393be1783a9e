using System.Runtime.InteropServices;

namespace Lincow.Linux;

/// <summary>Partitions of a block device as the kernel has them, and as it is told of them (BLKPG in linux/blkpg.h).</summary>
internal static unsafe class DevicePartitions
{
    private const nuint PartitionCommand = 0x1269;
    private const int AddOperation = 1;

    /// <summary>Their devices, in no order.</summary>
    public static List<string> Of(string device)
    {
        var system = "/sys/block/" + Path.GetFileName(device);
        return Directory.Exists(system)
            ? [.. Directory.EnumerateDirectories(system, Path.GetFileName(device) + "p*")
                .Select(path => "/dev/" + Path.GetFileName(path))] : [];
    }

    /// <summary>Makes a device of a part. Throws <see cref="LinuxException"/>.</summary>
    public static void Add(LinuxFile device, int number, long byteOffset, long byteLength)
    {
        var part = new BlockPartition { ByteOffset = byteOffset, ByteLength = byteLength, Number = number };
        var command = new BlockPartitionCommand { Operation = AddOperation, Length = sizeof(BlockPartition), Part = &part };
        if (Libc.ioctl(device.Descriptor, PartitionCommand, (nint)(&command)) < 0)
            throw new LinuxException($"ioctl(BLKPG) for partition {number}", device.Path, Libc.LastError);
    }
}

/// <summary><c>struct blkpg_partition</c>, 152 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 152)]
internal struct BlockPartition
{
    [FieldOffset(0)] public long ByteOffset;
    [FieldOffset(8)] public long ByteLength;
    [FieldOffset(16)] public int Number;
}

/// <summary><c>struct blkpg_ioctl_arg</c>, 24 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
internal unsafe struct BlockPartitionCommand
{
    [FieldOffset(0)] public int Operation;
    [FieldOffset(8)] public int Length;
    [FieldOffset(16)] public BlockPartition* Part;
}
