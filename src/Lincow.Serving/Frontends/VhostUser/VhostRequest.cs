using System.Buffers.Binary;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Serving.Frontends.VhostUser;

/// <summary>
/// One request of the guest (virtio 1.2, section 5.2.6): judged once, here, then carried out by the device. Data in one piece of guest
/// memory goes straight between there and the device; else it is gathered or scattered through a buffer. A request that breaks the block
/// device's rules gets its error status; one that can't even be answered breaks its queue.
/// </summary>
internal sealed unsafe class VhostRequest(VhostQueue queue) : BlockRequest
{
    private readonly VhostSession _session = queue.Session;
    private VirtRing _ring = null!;
    private int _id, _ringEntries, _inflightEntry;
    private nint _status;
    private long _writable, _dataBytes;
    private NativeBuffer _bounce, _pieces;
    private int _pieceCount, _range, _ranges;
    private ulong _flushes;

    /// <summary>Begins a request that has been taken off its ring.</summary>
    public void Begin(DescriptorChain chain, VirtRing ring)
    {
        if (chain.ReadableBytes < VhostProtocol.RequestHeaderBytes || chain.WritableBytes < 1)
            throw new VhostException($"a request has {chain.ReadableBytes} bytes for its header and {chain.WritableBytes} for its status");
        (_ring, _id, _ringEntries, _inflightEntry) = (ring, chain.Id, chain.RingEntries, chain.InflightEntry);
        _writable = chain.WritableBytes;
        _status = chain.FindWhole(isWritable: true, _writable - 1, 1);
        _dataBytes = 0;
        (_range, _ranges, _pieceCount) = (0, 0, 0);
        var header = stackalloc byte[VhostProtocol.RequestHeaderBytes];
        chain.Read(0, (nint)header, VhostProtocol.RequestHeaderBytes);
        var type = (VirtioBlkType)BinaryPrimitives.ReadUInt32LittleEndian(new ReadOnlySpan<byte>(header, 4));
        var sector = BinaryPrimitives.ReadUInt64LittleEndian(new ReadOnlySpan<byte>(header + 8, 8));
        Flags = _session.MustForceWrites ? BlockFlags.ForceUnitAccess : BlockFlags.None;
        switch (type)
        {
            case VirtioBlkType.In:
                Transfer(chain, BlockOperation.Read, sector, _writable - 1);
                break;
            case VirtioBlkType.Out when !_session.Device.IsReadOnly:
                Transfer(chain, BlockOperation.Write, sector, chain.ReadableBytes - VhostProtocol.RequestHeaderBytes);
                break;
            case VirtioBlkType.Flush:
                (Operation, ByteOffset, ByteLength) = (BlockOperation.Flush, 0, 0);
                _flushes = _session.Inflight?.Written ?? 0;
                _session.Device.Submit(this);
                break;
            case VirtioBlkType.GetId:
                _dataBytes = Math.Min(_writable - 1, VhostProtocol.IdBytes);
                fixed (byte* id = _session.Id)
                    chain.Write(0, (nint)id, _dataBytes);
                Answer(VhostProtocol.StatusOk);
                break;
            case VirtioBlkType.Discard when !_session.Device.IsReadOnly && _session.Device.CanDiscard:
            case VirtioBlkType.WriteZeroes when !_session.Device.IsReadOnly:
                Zero(chain, type);
                break;
            default:
                // Of a read-only disk, what would change it fails; what nobody offered is unknown.
                Answer(_session.Device.IsReadOnly && type is VirtioBlkType.Out or VirtioBlkType.Discard or VirtioBlkType.WriteZeroes
                    ? VhostProtocol.StatusIoError : VhostProtocol.StatusUnsupported);
                break;
        }
    }

    protected internal override void OnCompleted(int result)
    {
        // Also a write that failed may have changed something. One that left no trace in the map outlives this process in the page cache.
        if (Operation is BlockOperation.Write or BlockOperation.WriteZeroes or BlockOperation.Discard && MayBeLost)
            _session.Inflight?.NoteWrite();
        else if (Operation == BlockOperation.Flush && result == 0)
            _session.Inflight?.NoteFlush(_flushes);
        Continue(result);
    }

    private bool MayBeLost =>
        !_session.Device.IsPersistent || ((Flags & BlockFlags.ForceUnitAccess) == 0 && _session.Device.HasUncommitted);

    private bool IsWithin(ulong sector, ulong count) =>
        sector <= (ulong)_session.Config.Sectors && count <= (ulong)_session.Config.Sectors - sector;

    private void Transfer(DescriptorChain chain, BlockOperation operation, ulong sector, long byteCount)
    {
        if (byteCount % (1 << VhostProtocol.SectorShift) != 0 || byteCount > VhostProtocol.MaxDataBytes
            || !IsWithin(sector, (ulong)byteCount >> VhostProtocol.SectorShift))
        {
            Answer(VhostProtocol.StatusIoError);
            return;
        }
        (Operation, ByteOffset, ByteLength, _dataBytes) = (operation, (long)sector << VhostProtocol.SectorShift, byteCount, byteCount);
        if (byteCount == 0)
        {
            Answer(VhostProtocol.StatusOk);
            return;
        }
        var isRead = operation == BlockOperation.Read;
        var skipped = isRead ? 0 : VhostProtocol.RequestHeaderBytes;
        Buffer = chain.FindWhole(isRead, skipped, byteCount);
        if (Buffer == 0 || Buffer % _session.AlignmentBytes != 0)
        {
            if (!_session.TryTakeBuffer(byteCount, out _bounce)
                || (isRead && !_session.TryTakeBuffer((long)chain.WritableSegments * sizeof(Segment), out _pieces)))
            {
                Answer(VhostProtocol.StatusIoError);
                return;
            }
            Buffer = _bounce.Address;
            if (isRead)
            {
                _pieceCount = chain.WritableSegments;
                chain.CopyWritable((Segment*)_pieces.Address);
            }
            else
            {
                chain.Read(skipped, Buffer, byteCount);
            }
        }
        _session.Device.Submit(this);
    }

    private void Zero(DescriptorChain chain, VirtioBlkType type)
    {
        var byteCount = chain.ReadableBytes - VhostProtocol.RequestHeaderBytes;
        if (byteCount == 0 || byteCount % VhostProtocol.ZeroRangeBytes != 0
            || byteCount > VhostProtocol.MaxZeroRanges * VhostProtocol.ZeroRangeBytes)
        {
            Answer(VhostProtocol.StatusIoError);
            return;
        }
        // A copy: what has been judged can't change any more.
        if (!_session.TryTakeBuffer(byteCount, out _bounce))
        {
            Answer(VhostProtocol.StatusIoError);
            return;
        }
        chain.Read(VhostProtocol.RequestHeaderBytes, _bounce.Address, byteCount);
        _ranges = (int)(byteCount / VhostProtocol.ZeroRangeBytes);
        for (var i = 0; i < _ranges; i++)
        {
            var (sector, count, flags) = RangeAt(i);
            // A discard has no flags, and write zeroes has one (virtio 1.2, section 5.2.6.2).
            if (flags > (type == VirtioBlkType.Discard ? 0 : VhostProtocol.ZeroUnmap))
            {
                Answer(VhostProtocol.StatusUnsupported);
                return;
            }
            if (!IsWithin(sector, count) || count > _session.Config.MaxZeroSectors)
            {
                Answer(VhostProtocol.StatusIoError);
                return;
            }
        }
        Operation = type == VirtioBlkType.Discard ? BlockOperation.Discard : BlockOperation.WriteZeroes;
        Continue(0);
    }

    private (ulong Sector, uint Count, uint Flags) RangeAt(int index)
    {
        var range = new ReadOnlySpan<byte>((byte*)_bounce.Address + index * VhostProtocol.ZeroRangeBytes, VhostProtocol.ZeroRangeBytes);
        return (BinaryPrimitives.ReadUInt64LittleEndian(range), BinaryPrimitives.ReadUInt32LittleEndian(range[8..]),
            BinaryPrimitives.ReadUInt32LittleEndian(range[12..]));
    }

    /// <summary>Goes on to the next of many ranges, or answers.</summary>
    private void Continue(int result)
    {
        if (result < 0 || _range == _ranges)
        {
            Answer(result == 0 ? VhostProtocol.StatusOk : VhostProtocol.StatusIoError);
            return;
        }
        var (sector, count, flags) = RangeAt(_range++);
        (ByteOffset, ByteLength) = ((long)sector << VhostProtocol.SectorShift, (long)count << VhostProtocol.SectorShift);
        Flags &= ~BlockFlags.NoHole;
        if (Operation == BlockOperation.WriteZeroes && (flags & VhostProtocol.ZeroUnmap) == 0)
            Flags |= BlockFlags.NoHole;
        _session.Device.Submit(this);
    }

    private void Answer(byte status)
    {
        var isIn = status == VhostProtocol.StatusOk && _writable > 1;
        if (isIn && _pieceCount > 0)
            Scatter();
        SharedFields.Store8(_status, status);
        // How much is written from the first byte on; the status is the last byte.
        var written = isIn ? _dataBytes : 0;
        if (written == _writable - 1)
            written = _writable;
        _session.GiveBuffer(_bounce);
        _session.GiveBuffer(_pieces);
        _bounce = _pieces = default;
        queue.Ended(this, _ring, _id, _ringEntries, _inflightEntry, (uint)written);
    }

    private void Scatter()
    {
        var source = _bounce.Address;
        var left = _dataBytes;
        for (var i = 0; i < _pieceCount && left > 0; i++)
        {
            ref var piece = ref ((Segment*)_pieces.Address)[i];
            var count = Math.Min(left, piece.ByteCount);
            GuardedMemory.Copy(source, piece.Address, (nuint)count);
            source += (nint)count;
            left -= count;
        }
    }
}
