using System.Runtime.InteropServices;
using Lincow.Device;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Requests;
using Lincow.Stores;

namespace Lincow.Operations;

/// <summary>An overlay's device for one-shot commands: its extents and its content, on a loop of its own.</summary>
internal sealed unsafe class OverlayReader : IStoreDevice
{
    /// <summary>One request's bytes, or extents.</summary>
    private const int BufferBytes = 1 << 20;

    /// <summary>Chunks whose extents are asked for at once: what is in memory of them stays small on large devices.</summary>
    private const long ChunksAtOnce = 16 << 20;

    private readonly IoLoop _loop;
    private readonly NativeBuffer _buffer;
    private readonly Request _request = new();

    public OverlayReader(OverlayOptions options)
    {
        _loop = new PosixLoop();
        try
        {
            Session = OverlaySession.Open(options with { ReadOnly = true, IsLook = true }, _loop);
            _buffer = _loop.Buffers.Rent(BufferBytes);
        }
        catch
        {
            _loop.Dispose();
            throw;
        }
    }

    /// <summary>Of a session that is open, which becomes the reader's, as does its loop.</summary>
    public OverlayReader(OverlaySession session, IoLoop loop) =>
        (Session, _loop, _buffer) = (session, loop, loop.Buffers.Rent(BufferBytes));

    /// <summary>Over files that are open for writing, and an origin that isn't read; they are the reader's.</summary>
    /// <param name="files">The overlay.</param>
    /// <param name="origin">Its origin.</param>
    /// <param name="loop">The reader's from here on; null for one of its own.</param>
    public static OverlayReader Over(StoreFiles files, OriginFile origin, IoLoop? loop = null)
    {
        loop ??= new PosixLoop();
        try
        {
            return new OverlayReader(OverlaySession.Open(files, origin, new OverlayOptions(), loop), loop);
        }
        catch
        {
            loop.Dispose();
            throw;
        }
    }

    public OverlaySession Session { get; }

    public Geometry Geometry => Device.Geometry;

    public ExceptionStore Store => Device.Stack.Top;

    public void Flush() => Session.Flush();

    public CowDevice Device => Session.Device;

    /// <summary>Where each range of the device comes from, in order; neighbours differ.</summary>
    public IEnumerable<PlacedExtent> Extents()
    {
        var pending = default(PlacedExtent);
        for (long cursor = 0; cursor < Device.SizeBytes;)
        {
            foreach (var extent in Fetch(cursor))
            {
                // What one fetch cuts in two is one range.
                if (pending.ByteLength > 0 && extent.Source == pending.Source)
                {
                    pending = pending with { ByteLength = pending.ByteLength + extent.ByteLength };
                }
                else
                {
                    if (pending.ByteLength > 0)
                        yield return pending;
                    pending = new PlacedExtent(cursor, extent.ByteLength, extent.Source);
                }
                cursor += extent.ByteLength;
            }
        }
        if (pending.ByteLength > 0)
            yield return pending;
    }

    public void Read(long byteOffset, Span<byte> target)
    {
        while (target.Length > 0)
        {
            var piece = target[..Math.Min(BufferBytes, target.Length)];
            (_request.Operation, _request.ByteOffset, _request.ByteLength) = (BlockOperation.Read, byteOffset, piece.Length);
            Run($"device byte {byteOffset}");
            new Span<byte>((void*)_buffer.Address, piece.Length).CopyTo(piece);
            target = target[piece.Length..];
            byteOffset += piece.Length;
        }
    }

    public void Dispose()
    {
        _loop.Buffers.Return(_buffer);
        try
        {
            Session.Close();
        }
        finally
        {
            _loop.Dispose();
        }
    }

    private BlockExtent[] Fetch(long byteOffset)
    {
        (_request.Operation, _request.ByteOffset, _request.ExtentCount) = (BlockOperation.Extents, byteOffset,
            BufferBytes / Marshal.SizeOf<BlockExtent>());
        // A window of map pages at a time keeps memory small on large devices.
        _request.ByteLength = Math.Min(Device.SizeBytes - byteOffset, ChunksAtOnce << Device.Geometry.ChunkShift);
        Run($"the map at device byte {byteOffset}");
        return new ReadOnlySpan<BlockExtent>((void*)_buffer.Address, _request.ExtentCount).ToArray();
    }

    private void Run(string what)
    {
        _request.Buffer = _buffer.Address;
        if (_request.Await(Device, _loop) is var result and < 0)
            throw new LincowException(OperationErrors.DeviceUnreadable(Device.Stack.Data.Name, what, -result));
    }

    private sealed class Request : BlockRequest
    {
        private int? _result;

        public int Await(CowDevice device, IoLoop loop)
        {
            _result = null;
            device.Submit(this);
            while (_result is null)
                loop.RunOnce();
            return _result.Value;
        }

        protected internal override void OnCompleted(int result) => _result = result;
    }
}
