using System.Buffers;

namespace Lincow.Blobs;

/// <summary>
/// Native memory as a <see cref="Memory{T}"/>; one object shows one place after the other, so that none is allocated for a read.
/// </summary>
internal sealed unsafe class BorrowedMemory : MemoryManager<byte>
{
    private nint _address;
    private int _byteCount;

    public Memory<byte> Over(nint address, int byteCount)
    {
        (_address, _byteCount) = (address, byteCount);
        return Memory;
    }

    public override Span<byte> GetSpan() => new((void*)_address, _byteCount);

    // It doesn't move.
    public override MemoryHandle Pin(int elementIndex = 0) => new((byte*)_address + elementIndex);

    public override void Unpin()
    {
    }

    protected override void Dispose(bool disposing)
    {
    }
}
