using Lincow.Device;
using Lincow.Linux;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>A device under a name, on the loop that owns it.</summary>
public sealed record NbdExport(string Name, BlockDevice Device, IoLoop Loop, string Description)
{
    internal ushort TransmissionFlags(bool structuredReplies)
    {
        var flags = NbdProtocol.HasFlags | NbdProtocol.SendFlush | NbdProtocol.SendFua | NbdProtocol.CanMultiConn | NbdProtocol.SendCache;
        if (Device.IsReadOnly)
            flags |= NbdProtocol.ReadOnly;
        else
            flags |= NbdProtocol.SendWriteZeroes | NbdProtocol.SendFastZero | (Device.CanDiscard ? NbdProtocol.SendTrim : 0);
        if (structuredReplies)
            flags |= NbdProtocol.SendDf;
        return (ushort)flags;
    }

    /// <summary>Aligned requests of this size never need a copy-up.</summary>
    internal uint PreferredBlockBytes => (uint)Math.Clamp(Device.Geometry.ChunkBytes, 4096, 32 << 20);
}

/// <summary>
/// What client and server have agreed on for the transmission phase; nothing but an export by default, with a client that has been let in.
/// </summary>
internal sealed record NbdTerms(
    NbdExport Export, bool StructuredReplies = false, bool ExtendedHeaders = false, bool BaseContext = false, bool OverlayContext = false,
        bool IsTrusted = true);

/// <summary>The exports of a server.</summary>
public sealed class NbdExports(IReadOnlyList<NbdExport> exports)
{
    public IReadOnlyList<NbdExport> All { get; } = exports;

    /// <summary>
    /// One export answers to every name, as clients make up their own ("" or "default" or "sda"). Of several, the name must be right; the
    /// empty name is the first.
    /// </summary>
    public NbdExport? Find(string name)
    {
        if (All.Count == 1 || (name.Length == 0 && All.Count > 0))
            return All[0];
        return All.FirstOrDefault(export => export.Name == name);
    }
}
