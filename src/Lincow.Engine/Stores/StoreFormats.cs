using Lincow.Linux;
using Lincow.Stores.DmSnapshot;
using Lincow.Stores.Linear;

namespace Lincow.Stores;

/// <summary>The stores that there are: the only place outside their folders that names them.</summary>
internal static class StoreFormats
{
    /// <summary>So many bytes from a file's start are what stores are recognised by: lincow's own has two superblocks.</summary>
    public const int HeadBytes = 8192;

    /// <summary>The first is the one that is meant where nothing says otherwise.</summary>
    public static IReadOnlyList<IStoreFormat> All { get; } = [new LinearFormat(), new DmSnapshotFormat()];

    /// <summary>The store of that name. Throws <see cref="LincowException"/> when there is none.</summary>
    public static IStoreFormat Named(string name) => All.FirstOrDefault(format => format.Traits.Name == name)
        ?? throw new LincowException(ArgumentErrors.StoreUnknown(name, string.Join(" or ", All.Select(format => format.Traits.Name))));

    /// <summary>
    /// The store that an overlay has; for what isn't one the default, whose opening says what is missing. Throws
    /// <see cref="LincowException"/>.
    /// </summary>
    /// <param name="overlay">The overlay, as the user named it.</param>
    /// <param name="map">Its separate map, if it is named.</param>
    public static IStoreFormat Of(string overlay, string? map)
    {
        var path = StorePath.FullPath(overlay, "overlay");
        if (map is not null)
            return All.First(format => format.Traits.TakesMap);
        if (!File.Exists(path))
            return All[0];
        using var file = StorePath.Open(path);
        if (file.Facts.Kind is not (FileKind.Regular or FileKind.BlockDevice))
            return All[0];
        using var head = new AlignedBytes(HeadBytes);
        return Recognise(file, head.Span[..file.Read(head.Span, 0)]) ?? All[0];
    }

    /// <summary>
    /// The store that a file is one of, or a part of; null when it is none's. What lies beside a file counts before its content, which may
    /// be the guest's; its first bytes count before the rest, which may be the guest's in another store; and the default's remains, which
    /// lie furthest from the start, come last.
    /// </summary>
    /// <param name="file">A regular file or block device.</param>
    /// <param name="head">Its first bytes, as many of <see cref="HeadBytes"/> as it has.</param>
    public static IStoreFormat? Recognise(LinuxFile file, ReadOnlySpan<byte> head)
    {
        foreach (var format in All)
        {
            if (format.IsPartOf(file))
                return format;
        }
        if (WithMagic(head) is { } marked)
            return marked;
        for (var i = All.Count - 1; i >= 0; i--)
        {
            if (All[i].HasRemains(head))
                return All[i];
        }
        return null;
    }

    /// <summary>The store that a file begins as.</summary>
    public static IStoreFormat? WithMagic(ReadOnlySpan<byte> head)
    {
        foreach (var format in All)
        {
            if (format.HasMagic(head))
                return format;
        }
        return null;
    }

    /// <summary>Whether any store says something of a file's head. Throws <see cref="LincowException"/> for a version to come.</summary>
    public static bool Any(ReadOnlySpan<byte> head, string path, Func<StoreHead, bool> says)
    {
        foreach (var format in All)
        {
            if (says(format.ReadHead(head, path)))
                return true;
        }
        return false;
    }
}
