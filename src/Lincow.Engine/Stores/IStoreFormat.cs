using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores;

/// <summary>
/// A way in which overlays keep their chunks. Everything that differs between stores is behind this interface, the classes that it gives
/// out (<see cref="StoreFiles"/>,
/// <see cref="OpenStore"/>, <see cref="IStorePlan"/>, <see cref="IChangeSink"/>, <see cref="ICommitSource"/>) and
/// <see cref="Layers.ExceptionStore"/>. To add one is a folder beside this file and a line in <see cref="StoreFormats"/>.
/// </summary>
internal interface IStoreFormat
{
    /// <summary>Its name and the options that go with it.</summary>
    StoreTraits Traits { get; }

    /// <summary>Extended attributes that it keeps with its files; they go when a file is overwritten.</summary>
    IReadOnlyList<string> Attributes { get; }

    /// <summary>
    /// Whether damage shows only when the whole device is looked at. A commit looks first then, so that it is refused before anything is
    /// written.
    /// </summary>
    bool ShowsDamageWhenRead { get; }

    /// <summary>
    /// Whether a file belongs to a store of this kind for what is noted with it or lies beside it, whatever its content: a file with data
    /// alone has the guest's content, which must not decide what the file is taken for.
    /// </summary>
    bool IsPartOf(LinuxFile file);

    /// <summary>Whether a file begins as a store of this kind does.</summary>
    bool HasMagic(ReadOnlySpan<byte> head);

    /// <summary>
    /// Whether a file that begins as nothing known is a store of this kind nevertheless: a part of its head is lost, or is being written
    /// anew.
    /// </summary>
    bool HasRemains(ReadOnlySpan<byte> head);

    /// <summary>
    /// What a file's first <see cref="StoreFormats.HeadBytes"/> say (fewer where the file is shorter). Throws <see cref="LincowException"/>
    /// for a version to come.
    /// </summary>
    StoreHead ReadHead(ReadOnlySpan<byte> head, string path);

    /// <summary>The file with the metadata of the store whose data a file is; null when it is none's, or holds its own.</summary>
    string? MetadataOf(LinuxFile data);

    /// <summary>The file with the data of the store whose metadata a file holds; null when it lies in the same one.</summary>
    string? DataOf(LinuxFile metadata);

    /// <summary>Throws <see cref="LincowException"/> when a file beside a path would be taken for a part of what is made there.</summary>
    void RequireFreeName(string path);

    /// <summary>Throws <see cref="LincowException"/> when a store of this kind isn't used as is wanted.</summary>
    void RequireUsable(OverlayOptions options);

    /// <summary>Finds, opens, locks and recognises a store's files. Throws <see cref="LincowException"/>.</summary>
    /// <param name="options">The overlay, its map, what is accepted.</param>
    /// <param name="access">Who else may use it.</param>
    StoreFiles Open(OverlayOptions options, OverlayAccess access);

    /// <summary>Plans a new store; throws <see cref="LincowException"/> for what can't be. Nothing is touched yet.</summary>
    IStorePlan Plan(StorePlanOptions options);

    /// <summary>Opens the file of a store that is forgotten at exit.</summary>
    LinuxFile OpenTransient(string? place, Geometry geometry, bool direct);

    /// <summary>Builds a store that is forgotten at exit, on the loop's thread.</summary>
    OpenStore BeginTransient(LinuxFile file, Geometry geometry, OriginFile origin, OverlayOptions options, IoLoop loop);

    /// <summary>
    /// Throws <see cref="LincowException"/> when a file can't be converted from: it isn't whole, or is used in a way that its locks don't
    /// show.
    /// </summary>
    void RequireConvertible(string path);

    /// <summary>Writes a new store from one end of the device to the other.</summary>
    IChangeSink CreateSink(ChangeSinkOptions options);
}

/// <summary>What a file's first bytes say of it as a store of one kind.</summary>
/// <param name="IsMarked">It is to be taken for a store, and not overwritten unasked.</param>
/// <param name="IsSound">It could be opened as one.</param>
/// <param name="IsCommitUnfinished">Its commit was begun and isn't complete.</param>
internal readonly record struct StoreHead(bool IsMarked, bool IsSound, bool IsCommitUnfinished);

/// <summary>What a new store is to be, everything being checked that has nothing to do with its kind.</summary>
/// <param name="Create">What the user wants.</param>
/// <param name="Origin">The origin, open.</param>
/// <param name="DeviceBytes">The device's size.</param>
/// <param name="MaxDeviceBytes">What it may grow to.</param>
/// <param name="ChunkShift">The chunk size in bytes, as a power of two.</param>
internal sealed record StorePlanOptions(CreateOptions Create, OriginFile Origin, long DeviceBytes, long MaxDeviceBytes, int ChunkShift)
{
    /// <summary>What it is to remember of the origin's place.</summary>
    public string OriginUri { get; } = Create.RelativeOrigin
        ? RelativeOrigin.Of(Origin.Reference, RelativeOrigin.DirectoryOf(Create.Map ?? Create.Overlay)) : Origin.Uri;
}

/// <summary>A new store before it is there.</summary>
internal interface IStorePlan
{
    /// <summary>Throws <see cref="LincowException"/> when it doesn't fit into its files; nothing has changed then.</summary>
    void RequireRoom(LinuxFile metadata, LinuxFile data);

    /// <summary>Lays it into files that are empty or to be overwritten, so that a cut leaves what is no store.</summary>
    void Lay(LinuxFile metadata, LinuxFile data, bool preallocate);

    /// <summary>What has been laid, as it would be opened; its files are the caller's.</summary>
    StoreFiles Take(LinuxFile metadata, LinuxFile data);
}
