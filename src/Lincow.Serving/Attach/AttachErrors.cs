using Code = Lincow.LincowErrorCode;

namespace Lincow.Serving.Attach;

/// <summary>Errors of attaching to this machine.</summary>
internal static class AttachErrors
{
    public static LincowError WayUnknown(string name, string known) => new(Code.AttachWayUnknown, null,
        $"there is no way '{name}' to attach; there are {known}", new("name", name), new("known", known));

    /// <param name="name">The way that was asked for.</param>
    /// <param name="why">Why it doesn't work here.</param>
    public static LincowError WayImpossible(string name, string why) => new(Code.AttachWayImpossible, null, $"{name}: {why}",
        new("name", name), new("why", why));

    public static LincowError NothingAttaches(string why) => new(Code.NothingAttaches, null, $"nothing can be attached here: {why}",
        new LincowFact("why", why));

    public static LincowError Failed(string name, string way, Exception e) => new(Code.AttachFailed, null,
        $"{name}: can't be attached by {way}: {e.Message}", new("name", name), new("way", way), new("reason", e.Message));

    public static LincowError DeviceWaits(string? overlay, string? device) => new(Code.DeviceWaits, overlay,
        $"{overlay}: {device} waits for its server, which died", new LincowFact("device", device));

    public static LincowError WaitingDeviceDiffers(string? device, bool readOnly) => new(Code.WaitingDeviceDiffers, device,
        $"{device}: waits for its server, but had another size, other sectors or was {(readOnly ? "" : "not ")}read-only. Attach it as it "
        + "was",
        new LincowFact("wasReadOnly", readOnly ? 1 : 0));
}
