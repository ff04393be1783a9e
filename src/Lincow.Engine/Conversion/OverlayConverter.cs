using Lincow.Linux;
using Lincow.Operations;
using Lincow.Stores;

namespace Lincow.Conversion;

/// <summary>
/// Carries the changes of a device from one format to another: only changed ranges are moved, and all of them are read back and compared.
/// </summary>
/// <param name="formats">The formats there are; content decides which a source is of, in this order.</param>
/// <param name="progress">Told how far it is.</param>
/// <param name="stop">Ends the conversion between two pieces; nothing is left then.</param>
internal sealed class OverlayConverter(IReadOnlyList<IChangeFormat> formats, IProgress<OperationProgress>? progress = null,
    CancellationToken stop = default)
{
    /// <summary>What formats with a choice begin at, for many disks have blocks of this size.</summary>
    internal const int UsualChunkBytes = 4096;

    private const int PieceBytes = 1 << 20;

    private long _ranges, _dataBytes, _zeroBytes, _verifiedBytes;

    /// <summary>
    /// Converts. Throws <see cref="LincowException"/>; the destination is as it was before then (a block device begins with zeroes).
    /// </summary>
    public ConvertReport Run(ConvertOptions options)
    {
        try
        {
            return Convert(options);
        }
        catch (LinuxException e)
        {
            throw new LincowException(ConversionErrors.SystemRefused(e), e);
        }
    }

    /// <inheritdoc cref="Run"/>
    public Task<ConvertReport> RunAsync(ConvertOptions options) => Operation.Start(() => Run(options), stop);

    private ConvertReport Convert(ConvertOptions options)
    {
        var path = StorePath.FullPath(options.Source, "source");
        var (from, facts) = Detect(path);
        var to = Choose(options, from);
        using var source = from.Open(new ChangeSourceOptions
        {
            Path = path,
            Origin = options.Origin,
            AcceptOrigin = options.AcceptOrigin,
            IgnoreHoles = options.IgnoreHoles,
        });
        DeviceSize.Require(source.DeviceBytes, path);
        var chunk = to.ChunkFor(options.ChunkBytes, source.GranularityBytes, source.DeviceBytes);
        using var origin = StoreOrigin.Open(source.OriginUri);
        to.RequireFreeName(LinuxPath.Full(options.Destination));
        using var target = ConvertTarget.Open(options.Destination, options.Force, origin, facts);
        // mutation: convert-clears-before-the-checks (2 lines)
        using (var sink = to.Create(new ChangeSinkOptions
        {
            File = target.File,
            DeviceBytes = source.DeviceBytes,
            ChunkBytes = chunk,
            OriginUri = origin.Uri
        }))
        {
            target.Begin();
            sink.Begin();
            Copy(source, sink, chunk);
            sink.Complete();
        }
        target.BeginReadBack();
        using (var written = to.Open(new ChangeSourceOptions { Path = target.WorkPath, Origin = origin.Uri }))
            Verify(source, written, options.Destination);
        target.Publish();
        return new ConvertReport(path, from.Name, LinuxPath.Full(options.Destination), to.Name, origin.Uri, source.DeviceBytes, chunk,
            _ranges, _dataBytes, _zeroBytes, _verifiedBytes);
    }

    private (IChangeFormat Format, FileFacts Facts) Detect(string path)
    {
        using var file = StorePath.Open(path);
        if (file.Facts.Kind is not (FileKind.Regular or FileKind.BlockDevice))
            throw new LincowException(ConversionErrors.SourceNotAFile(path));
        var head = new byte[StoreFormats.HeadBytes];
        file.Read(head, 0);
        return (formats.FirstOrDefault(format => format.Recognises(file, head))
            ?? throw new LincowException(ConversionErrors.FormatUnrecognised(path, Names)), file.Facts);
    }

    private IChangeFormat Choose(ConvertOptions options, IChangeFormat from)
    {
        var name = options.To ?? (options.Destination.EndsWith(".qcow2", StringComparison.Ordinal) ? "qcow2"
            : from.Name != StoreTraits.DefaultName ? StoreTraits.DefaultName
            : throw new LincowException(ConversionErrors.FormatUnsaid(options.Destination)));
        return formats.FirstOrDefault(format =>
            format.Name == name) ?? throw new LincowException(ConversionErrors.FormatUnknown(name, Names));
    }

    private string Names => string.Join(", ", formats.Select(format => format.Name));

    /// <summary>
    /// A chunk that changes only in part is written as a whole, with what the device reads around the change; a chunk that several changes
    /// share is written once.
    /// </summary>
    private void Copy(IChangeSource source, IChangeSink sink, int chunk)
    {
        var buffer = new byte[Math.Max(PieceBytes, chunk)];
        var size = source.DeviceBytes;
        long written = 0;
        foreach (var range in source.Changes())
        {
            _ranges++;
            var (start, end) = (range.Start / chunk * chunk, Math.Min((range.End + chunk - 1) / chunk * chunk, size));
            var (zeroStart, zeroEnd) = (end, end);
            if (range.IsZero)
            {
                zeroStart = Math.Min((range.Start + chunk - 1) / chunk * chunk, size);
                zeroEnd = range.End == size ? size : range.End / chunk * chunk;
                if (zeroEnd <= zeroStart)
                    (zeroStart, zeroEnd) = (end, end);
            }
            // mutation: converted-chunk-written-twice
            CopyData(Math.Max(start, written), zeroStart);
            if (zeroEnd > zeroStart)
            {
                sink.Zero(zeroStart, zeroEnd - zeroStart);
                _zeroBytes += zeroEnd - zeroStart;
            }
            CopyData(zeroEnd, end);
            written = end;
        }
        progress?.Report(new OperationProgress("copying", 1));

        void CopyData(long from, long to)
        {
            for (; from < to; from += buffer.Length)
            {
                stop.ThrowIfCancellationRequested();
                progress?.Report(new OperationProgress("copying", (double)from / size));
                var piece = buffer.AsSpan(0, (int)Math.Min(buffer.Length, to - from));
                source.Read(from, piece);
                sink.Write(from, piece);
                _dataBytes += piece.Length;
            }
        }
    }

    /// <summary>What either of the two holds has to read alike through both; where neither holds anything, both show the origin.</summary>
    private void Verify(IChangeSource source, IChangeSource written, string destination)
    {
        if (written.DeviceBytes != source.DeviceBytes)
            throw new LincowException(ConversionErrors.ReadBackSizeDiffers(destination, written.DeviceBytes, source.DeviceBytes));
        var (first, second) = (new byte[PieceBytes], new byte[PieceBytes]);
        foreach (var (start, end) in Union(source.Changes(), written.Changes()))
        {
            for (var cursor = start; cursor < end; cursor += PieceBytes)
            {
                stop.ThrowIfCancellationRequested();
                progress?.Report(new OperationProgress("reading back", (double)cursor / source.DeviceBytes));
                var count = (int)Math.Min(PieceBytes, end - cursor);
                source.Read(cursor, first.AsSpan(0, count));
                written.Read(cursor, second.AsSpan(0, count));
                var same = first.AsSpan(0, count).CommonPrefixLength(second.AsSpan(0, count));
                // mutation: conversion-not-read-back
                if (same < count)
                    throw new LincowException(ConversionErrors.ReadBackDiffers(destination, cursor + same));
                _verifiedBytes += count;
            }
        }
        progress?.Report(new OperationProgress("reading back", 1));
    }

    /// <summary>The ranges that are in either of two ordered lists, each once.</summary>
    private static IEnumerable<(long Start, long End)> Union(IEnumerable<ChangedRange> one, IEnumerable<ChangedRange> other)
    {
        using var left = one.GetEnumerator();
        using var right = other.GetEnumerator();
        var (hasLeft, hasRight) = (left.MoveNext(), right.MoveNext());
        long done = 0;
        while (hasLeft || hasRight)
        {
            ChangedRange next;
            if (hasLeft && (!hasRight || left.Current.Start <= right.Current.Start))
            {
                next = left.Current;
                hasLeft = left.MoveNext();
            }
            else
            {
                next = right.Current;
                hasRight = right.MoveNext();
            }
            if (next.End > done)
                yield return (Math.Max(next.Start, done), next.End);
            done = Math.Max(done, next.End);
        }
    }
}
