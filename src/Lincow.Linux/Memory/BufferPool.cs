using System.Numerics;

namespace Lincow.Linux;

/// <summary>A piece of native memory: page-aligned, so it also serves direct I/O.</summary>
/// <param name="Address">First byte; 0 when there is none.</param>
/// <param name="SizeBytes">A power of two.</param>
internal readonly record struct NativeBuffer(nint Address, long SizeBytes)
{
    public bool IsEmpty => Address == 0;
}

/// <summary>
/// Native buffers by power-of-two size, kept for reuse so that a steady load allocates nothing. Belongs to one loop; not thread-safe.
/// Large buffers beyond a bound go back to the system at once. A data path asks with <see cref="TryRent"/>: that the system has no memory
/// left is the business of the request that needed it, and of nobody else.
/// </summary>
internal sealed class BufferPool : IDisposable
{
    private const int SmallestShift = 12;

    /// <summary>64 MiB, the largest request, twice: a copy-up of the largest chunk needs no more.</summary>
    private const int LargestShift = 27;

    /// <summary>What idle buffers may hold together; above it, a returned buffer is freed.</summary>
    private const long MaxIdleBytes = 64L << 20;

    private readonly Stack<nint>[] _idle = new Stack<nint>[LargestShift + 1];
    private long _idleBytes;

    public BufferPool()
    {
        for (var shift = SmallestShift; shift <= LargestShift; shift++)
            _idle[shift] = new Stack<nint>(64);
    }

    /// <summary>Bytes that are out on loan, for leak tests.</summary>
    public long RentedBytes { get; private set; }

    /// <summary>What a buffer of this many bytes takes.</summary>
    public static long SizeFor(long byteCount) => 1L << ShiftFor(byteCount);

    /// <summary>For tests: asked before each loan, says whether it fails.</summary>
    public Func<long, bool>? Refuses { get; set; }

    /// <summary>
    /// As <see cref="TryRent"/>, for the control plane: throws <see cref="LinuxException"/> when the system has no memory left.
    /// </summary>
    public NativeBuffer Rent(long byteCount) =>
        TryRent(byteCount, out var buffer) ? buffer : throw new LinuxException("malloc", $"a buffer of {byteCount} bytes", Errno.NoMemory);

    /// <summary>
    /// A buffer of at least this many bytes; its content is arbitrary. False, with none, when the system has no memory left.
    /// </summary>
    public bool TryRent(long byteCount, out NativeBuffer buffer)
    {
        var shift = ShiftFor(byteCount);
        if (byteCount <= 0 || shift > LargestShift)
            throw new ArgumentOutOfRangeException(nameof(byteCount));
        buffer = default;
        if (Refuses?.Invoke(byteCount) == true)
            return false;
        if (_idle[shift].TryPop(out var address))
            _idleBytes -= 1L << shift;
        else if (!TryAllocate((nuint)1 << shift, out address))
            return false;
        RentedBytes += 1L << shift;
        buffer = new NativeBuffer(address, 1L << shift);
        return true;
    }

    public void Return(NativeBuffer buffer)
    {
        if (buffer.IsEmpty)
            return;
        RentedBytes -= buffer.SizeBytes;
        if (_idleBytes + buffer.SizeBytes > MaxIdleBytes)
        {
            Libc.free(buffer.Address);
            return;
        }
        _idleBytes += buffer.SizeBytes;
        _idle[BitOperations.Log2((ulong)buffer.SizeBytes)].Push(buffer.Address);
    }

    public void Dispose() => FreeIdle();

    // What lies idle in other sizes may be all that is missing.
    private bool TryAllocate(nuint byteCount, out nint address)
    {
        address = Libc.aligned_alloc(4096, byteCount);
        if (address == 0 && _idleBytes > 0)
        {
            FreeIdle();
            address = Libc.aligned_alloc(4096, byteCount);
        }
        return address != 0;
    }

    private void FreeIdle()
    {
        foreach (var stack in _idle.AsSpan(SmallestShift))
        {
            while (stack.TryPop(out var address))
                Libc.free(address);
        }
        _idleBytes = 0;
    }

    private static int ShiftFor(long byteCount) => Math.Max(SmallestShift, 64 - BitOperations.LeadingZeroCount((ulong)(byteCount - 1)));
}
