namespace Lincow.Fuzz.Targets;

/// <summary>Something that takes input from strangers. One run is one input; an exception is a finding.</summary>
internal interface IFuzzTarget
{
    void Run(ReadOnlySpan<byte> input);
}

internal static class FuzzTargets
{
    /// <summary>Every target and what makes it.</summary>
    public static IReadOnlyDictionary<string, Func<IFuzzTarget>> All { get; } = new Dictionary<string, Func<IFuzzTarget>>
    {
        ["superblock"] = () => new SuperblockTarget(),
        ["map"] = () => new MapTarget(),
        ["overlay"] = () => new OverlayTarget(),
        ["store"] = () => new StoreTarget(),
        ["handshake"] = () => new HandshakeTarget(),
        ["transmission"] = () => new TransmissionTarget(),
        ["uml"] = () => new UmlTarget(),
        ["snapshot"] = () => new SnapshotTarget(),
        ["vhost"] = () => new VhostTarget(),
    };
}
