using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Lincow.Linux;

namespace Lincow.Serving.Frontends.Fuse;

/// <summary>
/// Requests through the device's own io_uring (FUSE over io_uring, Linux 6.14; Documentation/filesystems/fuse/fuse-io-uring.rst): the
/// kernel writes a request into memory that waits for it and completes a command; the reply is the next command, which waits for the next
/// request. So a turn of the loop takes many requests and gives many replies with its one system call. One queue for each processor that
/// there may be, as the kernel has it.
///
///     Register -> (a request) -> FuseFile.Begin -> device -> FuseFile.Completed -> Commit, and wait again
///
/// Invariant: an entry is with the kernel or with us, never both; it is retired when the kernel ends the connection.
/// </summary>
internal sealed unsafe class FuseRing
{
    /// <summary>
    /// Entries of all queues together, as long as each has <see cref="MinQueueEntries"/>: what may be in flight; more waits in the kernel.
    /// </summary>
    private const int TargetEntries = 64, MinQueueEntries = 4;

    /// <summary>The headers of an entry take a page of their own in front of its payload, which so is aligned.</summary>
    private const int HeaderRoomBytes = 4096, EntryBytes = HeaderRoomBytes + FuseServer.MaxTransferBytes;

    private readonly int _descriptor;
    private readonly FuseFile _file;
    private readonly IoLoop _loop;
    private readonly Action _ended;
    private readonly nint _memory;
    private readonly nuint _memoryBytes;
    private int _alive;

    /// <summary>Offers its memory to the kernel.</summary>
    /// <param name="ended">Called when the kernel has given everything back; the memory is gone then.</param>
    /// <exception cref="LinuxException">There is no memory for it.</exception>
    public FuseRing(IoLoop loop, int descriptor, FuseFile file, Action ended)
    {
        (_loop, _descriptor, _file, _ended) = (loop, descriptor, file, ended);
        var queues = CountProcessors(File.ReadAllText("/sys/devices/system/cpu/possible"));
        var perQueue = Math.Max(MinQueueEntries, TargetEntries / queues);
        _memoryBytes = (nuint)queues * (nuint)perQueue * EntryBytes;
        _memory = NativePages.Reserve(_memoryBytes);
        for (var queue = 0; queue < queues; queue++)
        {
            for (var i = 0; i < perQueue; i++)
                new Entry(this, queue, _memory + (nint)_alive++ * EntryBytes).Register();
        }
    }

    /// <summary>How many a list of ranges has, as /sys/devices/system/cpu/possible writes it: "0-3,8".</summary>
    internal static int CountProcessors(string list)
    {
        var count = 0;
        foreach (var range in list.Trim().Split(','))
        {
            var ends = range.Split('-');
            count += int.Parse(ends[^1], CultureInfo.InvariantCulture) - int.Parse(ends[0], CultureInfo.InvariantCulture) + 1;
        }
        return count;
    }

    private void Retire()
    {
        if (--_alive > 0)
            return;
        NativePages.Release(_memory, _memoryBytes);
        _ended();
    }

    private sealed class Entry : FuseRequest
    {
        private readonly FuseRing _ring;
        private readonly nint _room;
        private readonly ushort _queue;
        private readonly Receipt _receipt;
        private bool _isWithKernel;

        public Entry(FuseRing ring, int queue, nint room)
            : base(ring._file)
        {
            (_ring, _queue, _room) = (ring, (ushort)queue, room);
            _receipt = new Receipt(this);
            Lay(room, room + FuseAbi.RingArgumentsAt, room, Payload);
        }

        private nint Payload => _room + HeaderRoomBytes;

        private FuseRingState* State => (FuseRingState*)(_room + FuseAbi.RingStateAt);

        public void Register()
        {
            // The kernel takes the two places down while it looks at the command, which is when it is submitted: in this turn.
            var places = (IoVector*)(_room + FuseAbi.RingHeaderBytes);
            places[0] = new IoVector { Base = _room, Length = FuseAbi.RingHeaderBytes };
            places[1] = new IoVector { Base = Payload, Length = FuseServer.MaxTransferBytes };
            Submit(FuseAbi.RingRegister, (nint)places, 2, commitId: 0);
        }

        public override void TakePayload() => Buffer = Payload;

        public override bool TryMakeRoom(int byteCount)
        {
            Buffer = Payload;
            return true;
        }

        protected override void Send(nint header, nint data)
        {
            _ring._loop.Buffers.Return(Memory);
            Memory = default;
            State->PayloadBytes = (uint)ReplyBytes;
            Submit(FuseAbi.RingCommitAndFetch, 0, 0, State->CommitId);
        }

        private void Submit(uint operation, nint address, uint length, ulong commitId)
        {
            Debug.Assert(!_isWithKernel, "an entry is with the kernel or with us");
            _isWithKernel = true;
            var command = new FuseRingCommand { CommitId = commitId, Queue = _queue };
            _ring._loop.Command(_ring._descriptor, operation, address, length,
                MemoryMarshal.AsBytes(new ReadOnlySpan<FuseRingCommand>(in command)), _receipt);
        }

        private void Arrive(int result)
        {
            Debug.Assert(_isWithKernel, "an entry is with the kernel or with us");
            _isWithKernel = false;
            // ENOTCONN: unmounted, or aborted.
            if (result < 0)
            {
                _ring.Retire();
                return;
            }
            Clear();
            if (!_ring._file.Begin(this, (int)State->PayloadBytes))
                Answer(-Errno.NoSystemCall);
        }

        private sealed class Receipt(Entry entry) : IoCompletion
        {
            public override void Complete(int result) => entry.Arrive(result);
        }
    }
}
