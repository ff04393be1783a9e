using System.Diagnostics;
using System.Globalization;
using System.Numerics;

namespace Lincow.Linux;

/// <summary>What a ublk device shall look like.</summary>
/// <param name="SizeBytes">A multiple of the sector.</param>
/// <param name="GrainBytes">What the server works in, a power of two: writes of this size and alignment cost least, discards of less do
/// nothing.</param>
/// <param name="MaxZeroBytes">The longest zeroing and discard.</param>
/// <param name="CanDiscard">Whether there is a discard.</param>
/// <param name="IsReadOnly">Whether writes are refused.</param>
/// <param name="CanRecover">Whether it waits for another server when this one dies; if not, it goes, and its requests fail.</param>
/// <param name="SectorBytes">Its logical sectors, a power of two from 512 to a page.</param>
internal sealed record UblkShape(long SizeBytes, int GrainBytes, long MaxZeroBytes, bool CanDiscard, bool IsReadOnly, bool CanRecover,
    int SectorBytes = 512);

/// <summary>The one queue of a ublk device, as its server uses it.</summary>
internal interface IUblkQueue : IDisposable
{
    /// <summary>The block device.</summary>
    string Path { get; }

    /// <summary>What the kernel asks for under a tag, once its fetch has completed with 0.</summary>
    UblkDescriptor this[int tag] { get; }

    /// <summary>Asks for the first request of a tag. Completes with 0 when there is one, with an error when there will be none.</summary>
    void Fetch(IoLoop loop, int tag, IoCompletion completion);

    /// <summary>
    /// Answers the request of a tag, and asks for the next one. A negative errno, or the byte count of a read or write; the kernel doesn't
    /// look at any other number.
    /// </summary>
    void CommitAndFetch(IoLoop loop, int tag, int result, IoCompletion completion);

    /// <summary>Copies what a request writes, in place: it is no more than a copy. 0, or a negative errno.</summary>
    int TryReceive(int tag, nint buffer, int byteCount);

    /// <summary>Copies what a request has read. 0, or a negative errno.</summary>
    int TrySend(int tag, nint buffer, int byteCount);
}

/// <summary>
/// Block devices of the kernel's ublk driver (Documentation/block/ublk.rst): requests are fetched with commands on an io_uring, data is
/// copied by read and write on a character device. This is the control plane, by commands on a ring of its own, and the memory that is
/// shared with the kernel; the queue is served by whoever owns the loop. With recovery, a device outlives its server: requests wait for the
/// next one, and those that the dead one had taken are given out again.
/// </summary>
internal sealed unsafe class UblkBlockDevice : IUblkQueue
{
    /// <summary>
    /// Requests at once, as many as a loop device has. One queue: one thread serves it, so more would only be more of the same.
    /// </summary>
    public const int Depth = 128;

    public const int MaxTransferBytes = 1 << 20;

    private const string Control = "/dev/ublk-control";
    private const ulong Needed = UblkAbi.Recovery | UblkAbi.RecoveryReissue | UblkAbi.IoctlEncoding | UblkAbi.UserCopy;
    private const int SectorShift = 9, PageShift = 12;

    /// <summary>After kill -9 the kernel ends the old server's ring in the background.</summary>
    private static readonly TimeSpan RecoveryPatience = TimeSpan.FromSeconds(30);

    private readonly uint _number;
    private readonly LinuxFile _file;
    private readonly nint _descriptors;
    private bool _isDisposed;

    private UblkBlockDevice(uint number)
    {
        _number = number;
        DeviceNode.Need(string.Create(CultureInfo.InvariantCulture, $"/dev/ublkc{number}"));
        _file = LinuxFile.Open(string.Create(CultureInfo.InvariantCulture, $"/dev/ublkc{number}"), writable: true);
        _descriptors = Libc.mmap(0, DescriptorsBytes, Libc.ProtRead, Libc.MapShared | Libc.MapPopulate, _file.Descriptor, 0);
        if (_descriptors != -1)
            return;
        var error = Libc.LastError;
        _file.Dispose();
        throw new LinuxException("mmap", _file.Path, error);
    }

    private static nuint DescriptorsBytes => (nuint)(Depth * sizeof(UblkDescriptor) + 4095 & ~4095);

    public string Path => PathOf(_number);

    /// <summary>Why there can be no such device; null when there can.</summary>
    public static string? WhyNot()
    {
        if (!LinuxProcess.IsMachineRoot)
            return "a block device takes root";
        if (IoLoop.IsPosixForced)
            return "LINCOW_IO=posix does without io_uring";
        if (!File.Exists(Control))
            return $"there is no {Control} (modprobe ublk_drv, Linux 6.5 or later)";
        try
        {
            ulong features = 0;
            Ask(UblkAbi.GetFeatures, uint.MaxValue, (nint)(&features), sizeof(ulong));
            return (features & Needed) == Needed ? null : "the kernel's ublk has no user copy or no recovery (Linux 6.5 has)";
        }
        catch (LinuxException e)
        {
            return e.Errno is Errno.NotSupported or Errno.Invalid ? "the kernel's ublk is too old (Linux 6.5 or later)" : e.Message;
        }
    }

    /// <summary>Adds a device that isn't there for others yet. Throws <see cref="LinuxException"/>.</summary>
    /// <param name="shape">What it shall look like.</param>
    /// <param name="identity">What it is known by, whatever its number.</param>
    public static UblkBlockDevice Add(UblkShape shape, ulong identity)
    {
        var info = new UblkDeviceInfo
        {
            Queues = 1,
            Depth = Depth,
            MaxTransferBytes = MaxTransferBytes,
            Device = uint.MaxValue,
            // mutation: real-ublk-loses-requests
            Flags = UblkAbi.IoctlEncoding | UblkAbi.UserCopy | (shape.CanRecover ? UblkAbi.Recovery | UblkAbi.RecoveryReissue : 0),
            ServerFlags = identity,
        };
        Ask(UblkAbi.AddDevice, uint.MaxValue, (nint)(&info), sizeof(UblkDeviceInfo));
        try
        {
            var parameters = Parameters(shape);
            Ask(UblkAbi.SetParameters, info.Device, (nint)(&parameters), sizeof(UblkParameters));
            return new UblkBlockDevice(info.Device);
        }
        catch
        {
            Delete(PathOf(info.Device));
            throw;
        }
    }

    /// <summary>
    /// Begins to take over a device whose server has died, once the kernel is done with that one. Throws <see cref="LinuxException"/>.
    /// </summary>
    public static UblkBlockDevice Recover(string device)
    {
        var number = NumberOf(device);
        var time = Stopwatch.StartNew();
        while (true)
        {
            try
            {
                Ask(UblkAbi.StartRecovery, number);
                return new UblkBlockDevice(number);
            }
            catch (LinuxException e) when (e.Errno == Errno.Busy && time.Elapsed < RecoveryPatience)
            {
                Thread.Sleep(10);
            }
        }
    }

    /// <summary>
    /// The device of this identity, where it is one that lives or waits for a server, or one that was never started. Null when there is
    /// none.
    /// </summary>
    public static (string Device, bool IsStarted)? Find(ulong identity)
    {
        const string directory = "/sys/class/ublk-char";
        if (!Directory.Exists(directory))
            return null;
        foreach (var entry in Directory.EnumerateFileSystemEntries(directory))
        {
            var number = NumberOf(entry);
            try
            {
                UblkDeviceInfo info = default;
                Ask(UblkAbi.GetInfo, number, (nint)(&info), sizeof(UblkDeviceInfo));
                if (info.ServerFlags == identity)
                    return (PathOf(number), info.State is UblkAbi.StateLive or UblkAbi.StateQuiesced);
            }
            catch (LinuxException)
            {
                // It went away meanwhile.
            }
        }
        return null;
    }

    /// <summary>
    /// Makes the block device, and returns when its partitions have been looked for: the queue must be served. Throws
    /// <see cref="LinuxException"/>.
    /// </summary>
    public void Start()
    {
        Ask(UblkAbi.StartDevice, _number, data: (ulong)Environment.ProcessId);
        DeviceNode.Need(Path);
    }

    /// <summary>Ends what <see cref="Recover"/> began: requests flow again. The queue must be served.</summary>
    public void EndRecovery() => Ask(UblkAbi.EndRecovery, _number, data: (ulong)Environment.ProcessId);

    /// <summary>
    /// Takes the block device away; what is in flight is finished first by a queue that is served, and fails otherwise. The queue's
    /// commands end.
    /// </summary>
    public static void Stop(string device) => Ask(UblkAbi.StopDevice, NumberOf(device));

    /// <summary>Takes everything away, at the latest when nobody has it open any more, and waits for that.</summary>
    public static void Delete(string device) => Ask(UblkAbi.DeleteDevice, NumberOf(device));

    public UblkDescriptor this[int tag] => ((UblkDescriptor*)_descriptors)[tag];

    public void Fetch(IoLoop loop, int tag, IoCompletion completion) => Command(loop, UblkAbi.Fetch, tag, 0, completion);

    public void CommitAndFetch(IoLoop loop, int tag, int result, IoCompletion completion) =>
        Command(loop, UblkAbi.CommitAndFetch, tag, result, completion);

    public int TryReceive(int tag, nint buffer, int byteCount) =>
        Whole(Libc.pread(_file.Descriptor, buffer, byteCount, UblkAbi.DataAt + ((long)tag << UblkAbi.DataShift)), byteCount);

    public int TrySend(int tag, nint buffer, int byteCount) =>
        Whole(Libc.pwrite(_file.Descriptor, buffer, byteCount, UblkAbi.DataAt + ((long)tag << UblkAbi.DataShift)), byteCount);

    /// <summary>Lets go of the device; it stays.</summary>
    public void Dispose()
    {
        if (_isDisposed)
            return;
        _isDisposed = true;
        _ = Libc.munmap(_descriptors, DescriptorsBytes);
        _file.Dispose();
        DeviceNode.RemoveMade(_file.Path);
    }

    internal static UblkParameters Parameters(UblkShape shape)
    {
        var logicalShift = (byte)BitOperations.Log2((uint)shape.SectorBytes);
        var grainShift = (byte)Math.Clamp(BitOperations.Log2((uint)shape.GrainBytes), logicalShift, 20);
        var maxZeroSectors = (uint)(Math.Min(shape.MaxZeroBytes, 1L << 31) >> SectorShift);
        return new UblkParameters
        {
            Length = (uint)sizeof(UblkParameters),
            Types = UblkAbi.BasicParameters | UblkAbi.DiscardParameters,
            Attributes = UblkAbi.VolatileCache | UblkAbi.ForceUnitAccess | (shape.IsReadOnly ? UblkAbi.ReadOnly : 0),
            LogicalShift = logicalShift,
            // Not above a page: file systems refuse, or make blocks of that size.
            PhysicalShift = Math.Min(grainShift, (byte)PageShift),
            OptimalShift = grainShift,
            MinimalShift = grainShift,
            MaxSectors = MaxTransferBytes >> SectorShift,
            DeviceSectors = (ulong)shape.SizeBytes >> SectorShift,
            DiscardGranularity = 1u << grainShift,
            MaxDiscardSectors = shape.CanDiscard ? maxZeroSectors : 0,
            MaxZeroSectors = maxZeroSectors,
            MaxDiscardSegments = 1,
        };
    }

    private void Command(IoLoop loop, uint command, int tag, int result, IoCompletion completion)
    {
        var content = new UblkQueueCommand { Tag = (ushort)tag, Result = result };
        loop.Command(_file.Descriptor, command, 0, 0, new ReadOnlySpan<byte>(&content, sizeof(UblkQueueCommand)), completion);
    }

    private static int Whole(nint result, int byteCount) => result == byteCount ? 0 : result < 0 ? -Libc.LastError : -Errno.IO;

    private static string PathOf(uint number) => string.Create(CultureInfo.InvariantCulture, $"/dev/ublkb{number}");

    private static uint NumberOf(string path) =>
        uint.Parse(System.IO.Path.GetFileName(path).AsSpan("ublkb".Length), CultureInfo.InvariantCulture);

    /// <summary>One control command, on a ring of its own. The result, or a <see cref="LinuxException"/>.</summary>
    private static void Ask(uint operation, uint device, nint address = 0, int length = 0, ulong data = 0)
    {
        using var control = LinuxFile.Open(Control, writable: true);
        using var loop = new UringLoop();
        var command = new UblkControlCommand
        {
            Device = device,
            Queue = ushort.MaxValue,
            Length = (ushort)length,
            Address = (ulong)address,
            Data = data
        };
        var answer = new Answer();
        loop.Command(control.Descriptor, operation, 0, 0, new ReadOnlySpan<byte>(&command, sizeof(UblkControlCommand)), answer);
        while (answer.Result is null)
            loop.RunOnce();
        if (answer.Result < 0)
            throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"ublk command {operation & 0xff:x}"), Control,
                -answer.Result.Value);
    }

    private sealed class Answer : IoCompletion
    {
        public int? Result { get; private set; }

        public override void Complete(int result) => Result = result;
    }
}
