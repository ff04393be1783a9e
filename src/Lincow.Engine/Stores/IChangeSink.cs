using Lincow.Linux;

namespace Lincow.Stores;

/// <summary>
/// What is to be written. The file is open, locked, empty or to be overwritten, and bears another name until it is complete.
/// </summary>
internal sealed record ChangeSinkOptions
{
    public required LinuxFile File { get; init; }

    public required long DeviceBytes { get; init; }

    public required int ChunkBytes { get; init; }

    /// <summary>An absolute path, or zero:SIZE.</summary>
    public required string OriginUri { get; init; }
}

/// <summary>Takes changes in the device's order, in whole chunks (the device's last one may be short).</summary>
internal interface IChangeSink : IDisposable
{
    /// <summary>Nothing stands against it: what is there goes.</summary>
    void Begin();

    void Write(long byteOffset, ReadOnlySpan<byte> content);

    void Zero(long byteOffset, long byteLength);

    /// <summary>Everything to stable storage; what makes the file one of its format comes last.</summary>
    void Complete();
}
