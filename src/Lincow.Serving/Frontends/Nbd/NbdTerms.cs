using Lincow.Serving.Exports;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>
/// What client and server have agreed on for the transmission phase; nothing but an export by default, with a client that has been let in.
/// </summary>
internal sealed record NbdTerms(
    Export Export, bool StructuredReplies = false, bool ExtendedHeaders = false, bool BaseContext = false, bool OverlayContext = false,
        bool IsTrusted = true)
{
    /// <summary>What an export can do (proto.md, "Transmission flags").</summary>
    public static ushort TransmissionFlags(Export export, bool structuredReplies)
    {
        var flags = NbdProtocol.HasFlags | NbdProtocol.SendFlush | NbdProtocol.SendFua | NbdProtocol.CanMultiConn | NbdProtocol.SendCache;
        if (export.IsReadOnly)
            flags |= NbdProtocol.ReadOnly;
        else
            flags |= NbdProtocol.SendWriteZeroes | NbdProtocol.SendFastZero | (export.Device.CanDiscard ? NbdProtocol.SendTrim : 0);
        if (structuredReplies)
            flags |= NbdProtocol.SendDf;
        return (ushort)flags;
    }

    /// <summary>What clients make their requests multiples of; smaller ones of those who don't are answered all the same.</summary>
    public static uint MinimumBlockBytes(Export export) =>
        // mutation: large-sectors-not-told
        export.Device.SectorBytes > SmallestSectorBytes ? (uint)export.Device.SectorBytes : 1;

    private const int SmallestSectorBytes = 512;

    /// <summary>Aligned requests of this size never need a copy-up.</summary>
    public static uint PreferredBlockBytes(Export export) => (uint)Math.Clamp(export.Device.Geometry.ChunkBytes, 4096, 32 << 20);
}
