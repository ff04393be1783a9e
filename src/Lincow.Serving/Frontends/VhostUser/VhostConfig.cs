using System.Buffers.Binary;
using System.Numerics;
using Lincow.Device;

namespace Lincow.Serving.Frontends.VhostUser;

/// <summary>What the guest is told of the device: features and the configuration space (virtio 1.2, section 5.2.4).</summary>
internal sealed class VhostConfig
{
    /// <summary>
    /// struct virtio_blk_config up to and with the write zeroes fields. What follows is for features that are not offered, and reads 0.
    /// </summary>
    public const int Bytes = 60;

    /// <summary>The protocol's largest configuration space (VHOST_USER_MAX_CONFIG_SIZE).</summary>
    public const int MaxBytes = 256;

    private const int WriteBackOffset = 32;

    /// <summary>QEMU's queues have 128 entries unless it is told otherwise; a request takes two more for its header and status.</summary>
    private const uint MaxSegments = 126;

    /// <summary>The smallest size that costs least, in sectors: the largest power of two that its field of 16 bits holds.</summary>
    private const long MaxMinimalSectors = 1 << 15;

    private const int PageBytes = 4096;

    private const int SectorBytes = 1 << VhostProtocol.SectorShift;

    private readonly byte[] _space = new byte[MaxBytes];

    public VhostConfig(BlockDevice device)
    {
        var chunk = device.Geometry.ChunkBytes;
        Features = VirtioFeatures.SegMax | VirtioFeatures.BlkSize | VirtioFeatures.Flush | VirtioFeatures.Topology
            | VirtioFeatures.ConfigWce | VirtioFeatures.MultiQueue
            | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex | VirtioFeatures.ProtocolFeatures | VirtioFeatures.Version1
                | VirtioFeatures.PackedRing;
        Features |= device.IsReadOnly ? VirtioFeatures.ReadOnly : VirtioFeatures.WriteZeroes;
        Features |= device.IsReadOnly || !device.CanDiscard ? 0 : VirtioFeatures.Discard;
        Sectors = device.SizeBytes >> VhostProtocol.SectorShift;
        MaxZeroSectors = (uint)Math.Min(device.MaxZeroBytes >> VhostProtocol.SectorShift, uint.MaxValue);
        var space = _space.AsSpan();
        BinaryPrimitives.WriteInt64LittleEndian(space, Sectors);
        BinaryPrimitives.WriteUInt32LittleEndian(space[12..], MaxSegments);
        // The topology counts in logical sectors; everything else of virtio in 512 bytes.
        var (sector, perSector) = (device.SectorBytes, Math.Max(1, chunk / device.SectorBytes));
        BinaryPrimitives.WriteUInt32LittleEndian(space[20..], (uint)sector);
        // A guest's physical block is at most its page. Whole chunks need no copy-up, which the optimal size says.
        space[24] = (byte)BitOperations.Log2((uint)Math.Clamp(perSector, 1, PageBytes / sector));
        BinaryPrimitives.WriteUInt16LittleEndian(space[26..], (ushort)Math.Min(perSector, MaxMinimalSectors));
        BinaryPrimitives.WriteUInt32LittleEndian(space[28..], (uint)perSector);
        space[WriteBackOffset] = 1;
        BinaryPrimitives.WriteUInt16LittleEndian(space[34..], VhostProtocol.MaxQueues);
        BinaryPrimitives.WriteUInt32LittleEndian(space[36..], MaxZeroSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(space[40..], VhostProtocol.MaxZeroRanges);
        BinaryPrimitives.WriteUInt32LittleEndian(space[44..], (uint)(chunk / SectorBytes));
        BinaryPrimitives.WriteUInt32LittleEndian(space[48..], MaxZeroSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(space[52..], VhostProtocol.MaxZeroRanges);
        space[56] = device.CanDiscard ? (byte)1 : (byte)0;
    }

    public VirtioFeatures Features { get; }

    public long Sectors { get; }

    public uint MaxZeroSectors { get; }

    /// <summary>False after the guest has asked that every write be on stable storage when it ends.</summary>
    public bool IsWriteBack
    {
        get => _space[WriteBackOffset] != 0;
        set => _space[WriteBackOffset] = value ? (byte)1 : (byte)0;
    }

    public ReadOnlySpan<byte> Space => _space;

    /// <summary>Takes a change by the guest. Everything but the cache mode is read-only.</summary>
    public bool TrySet(uint offset, ReadOnlySpan<byte> value)
    {
        if (offset != WriteBackOffset || value.Length != 1 || value[0] > 1)
            return false;
        _space[WriteBackOffset] = value[0];
        return true;
    }
}
