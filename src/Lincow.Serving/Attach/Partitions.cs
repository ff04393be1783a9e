using System.Runtime.InteropServices;
using Lincow.Device;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Serving.Attach;

/// <summary>Devices of the partitions in an attached device.</summary>
internal static class Partitions
{
    /// <summary>
    /// When the kernel has looked for partitions and found none: it may have been built without the code for their tables. Then they are
    /// found here, and it is told. Says what is missing, but never fails: the device itself is there.
    /// </summary>
    public static void Complete(string device, AttachTarget target)
    {
        try
        {
            if (DevicePartitions.Of(device).Count == 0)
                Add(device, target);
            foreach (var part in DevicePartitions.Of(device))
                DeviceNode.Need(part);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            target.Log($"{device}: there are no devices of its partitions: {e.Message}");
        }
    }

    private static void Add(string device, AttachTarget target)
    {
        using var block = LinuxFile.Open(device, writable: false);
        // Not through the kernel: the one who would have to answer is this process.
        var table = new PartitionTable(target.Device.SizeBytes, target.Device.SectorBytes, (byteOffset, byteLength) =>
            new DeviceRead(target).Read(byteOffset, byteLength));
        var partitions = table.Read();
        if (partitions.Count == 0 && target.Scan == PartitionScan.Wanted)
            target.Log($"{device}: has no partition table");
        foreach (var partition in partitions)
            DevicePartitions.Add(block, partition.Number, partition.ByteOffset, partition.ByteLength);
    }

    /// <summary>A read of the device, from another thread than its loop's.</summary>
    private sealed unsafe class DeviceRead(AttachTarget target) : BlockRequest
    {
        private readonly TaskCompletionSource<byte[]> _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private NativeBuffer _memory;

        public byte[] Read(long byteOffset, int byteLength)
        {
            target.Loop.Post(() =>
            {
                if (!target.Loop.Buffers.TryRent(byteLength, out _memory))
                {
                    _done.SetException(new LinuxException("read", target.Name, Errno.NoMemory));
                    return;
                }
                (Operation, ByteOffset, ByteLength, Buffer) = (BlockOperation.Read, byteOffset, byteLength, _memory.Address);
                target.Device.Submit(this);
            });
            return _done.Task.GetAwaiter().GetResult();
        }

        protected internal override void OnCompleted(int result)
        {
            if (result < 0)
                _done.SetException(new LinuxException("read", target.Name, -result));
            else
                _done.SetResult(new ReadOnlySpan<byte>((void*)_memory.Address, (int)ByteLength).ToArray());
            target.Loop.Buffers.Return(_memory);
        }
    }
}
