using System.Runtime.InteropServices;

namespace Lincow.Linux;

/// <summary>Zeroed bytes that direct I/O accepts, for the control plane.</summary>
internal sealed unsafe class AlignedBytes : IDisposable
{
    private readonly int _length;
    private void* _address;

    public AlignedBytes(int byteCount)
    {
        _length = byteCount;
        _address = NativeMemory.AlignedAlloc((nuint)byteCount, 4096);
        Span.Clear();
    }

    public Span<byte> Span => new(_address, _length);

    public void Dispose()
    {
        NativeMemory.AlignedFree(_address);
        _address = null;
    }
}
