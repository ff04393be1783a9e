using System.Globalization;
using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores.DmSnapshot;

/// <summary>
/// What lincow remembers of a store's origin, for the kernel's format has no place for it: an extended attribute of the store's file, one
/// line of words: version, uuid, mark (<see cref="HostMark"/>), the device's size in bytes, the origin's identity (docs/format.md, in
/// hexadecimal) and its path. Stores without it, on block devices for example, need to be told their origin each time.
/// </summary>
/// <param name="Uuid">Names the store.</param>
/// <param name="Mark">Shows who wrote it.</param>
/// <param name="DeviceBytes">The device's size.</param>
/// <param name="Identity">What the origin was like.</param>
/// <param name="OriginUri">Where it is.</param>
internal sealed record OriginNote(Guid Uuid, ulong Mark, long DeviceBytes, OriginIdentity Identity, string OriginUri)
{
    public const string Attribute = "user.lincow.origin";

    /// <summary>The samples of the origin's content (docs/format.md), in hexadecimal.</summary>
    public const string SamplesAttribute = "user.lincow.samples";

    /// <summary>The device's logical sectors in bytes, where they aren't those of its origin.</summary>
    public const string SectorAttribute = "user.lincow.sector";

    private const string Version = "1";

    /// <summary>Why the path must not be followed, a part of a sentence; null when this user wrote it on this machine.</summary>
    /// <param name="file">The store.</param>
    public string? WhyForeign(LinuxFile file) => HostMark.WhyForeign(file, Mark, Uuid, OriginUri, "");

    /// <summary>The note of an open store; null when there is none that can be read.</summary>
    public static OriginNote? Read(LinuxFile file)
    {
        var words = file.GetAttribute(Attribute)?.Split(' ', 6);
        if (words is not { Length: 6 } || words[0] != Version || !Guid.TryParse(words[1], out var uuid)
            || !ulong.TryParse(words[2], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var mark)
            || !long.TryParse(words[3], NumberStyles.None, CultureInfo.InvariantCulture, out var deviceBytes)
            || deviceBytes > Geometry.MaxDeviceBytes || words[4].Length != 2 * OriginIdentity.EncodedBytes || words[5].Length == 0)
            return null;
        try
        {
            return new OriginNote(uuid, mark, deviceBytes, OriginIdentity.Decode(Convert.FromHexString(words[4]), Samples(file)),
                words[5]);
        }
        catch (FormatException)
        {
            return null;
        }
    }

    /// <summary>The device's logical sectors in bytes; null where they aren't remembered.</summary>
    public static int? ReadSectorBytes(LinuxFile file) => int.TryParse(file.GetAttribute(SectorAttribute), NumberStyles.None,
        CultureInfo.InvariantCulture, out var bytes) && SectorSize.CanBe(bytes) ? bytes : null;

    /// <summary>Keeps a note with the store, marked as this user's; false where the file system keeps no attributes.</summary>
    public static bool Write(LinuxFile file, Guid uuid, long deviceBytes, OriginIdentity identity, string originUri)
    {
        return new OriginNote(uuid, HostMark.Of(uuid, originUri, ""), deviceBytes, identity, originUri).Restore(file);
    }

    /// <summary>Keeps it as it was read, with the mark that it had; false where the file system keeps no attributes.</summary>
    public bool Restore(LinuxFile file)
    {
        var field = new byte[OriginIdentity.EncodedBytes];
        Identity.Encode(field);
        if (Identity.Samples is { } samples)
        {
            var kept = new byte[OriginSamples.EncodedBytes];
            samples.Encode(kept, Identity.SampleHash);
            file.TrySetAttribute(SamplesAttribute, Convert.ToHexString(kept));
        }
        return file.TrySetAttribute(Attribute,
            string.Create(CultureInfo.InvariantCulture,
                $"{Version} {Uuid} {Mark:x16} {DeviceBytes} {Convert.ToHexString(field)} {OriginUri}"));
    }

    private static byte[] Samples(LinuxFile file) => file.GetAttribute(SamplesAttribute) is { } text
        && text.Length == 2 * OriginSamples.EncodedBytes ? Convert.FromHexString(text) : [];
}
