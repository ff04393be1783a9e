using Lincow.Operations;
using Lincow.Requests;
using Lincow.Stores;

namespace Lincow.Conversion;

/// <summary>What the engine itself opens as a device, with either of its stores.</summary>
internal sealed class OverlaySource : IChangeSource
{
    private readonly OverlayReader _reader;

    public OverlaySource(ChangeSourceOptions options)
    {
        _reader = new OverlayReader(new OverlayOptions
        {
            Overlay = options.Path,
            Origin = options.Origin,
            IgnoreHoles = options.IgnoreHoles,
            AcceptOrigin = options.AcceptOrigin
        });
        if (!_reader.Session.IsCommitUnfinished)
            return;
        // What would be written knows nothing of the commit, and its origin changes when that goes on.
        _reader.Dispose();
        throw new LincowException(StoreErrors.CommitUnfinished(options.Path));
    }

    public long DeviceBytes => _reader.Device.SizeBytes;

    public int GranularityBytes => (int)_reader.Device.Geometry.ChunkBytes;

    public string OriginUri => _reader.Session.Origin.Uri;

    public IEnumerable<ChangedRange> Changes()
    {
        foreach (var extent in _reader.Extents())
        {
            if (extent.Source is RunSource.Data or RunSource.Zero)
                yield return new ChangedRange(extent.Start, extent.ByteLength, extent.Source == RunSource.Zero);
        }
    }

    public void Read(long byteOffset, Span<byte> buffer) => _reader.Read(byteOffset, buffer);

    public void Dispose() => _reader.Dispose();
}
