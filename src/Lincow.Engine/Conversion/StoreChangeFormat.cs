using Lincow.Linux;
using Lincow.Operations;
using Lincow.Stores;

namespace Lincow.Conversion;

/// <summary>A store as a format of changes: what the engine itself opens as a device.</summary>
internal sealed class StoreChangeFormat : IChangeFormat
{
    private readonly IStoreFormat _store;

    private StoreChangeFormat(IStoreFormat store) => _store = store;

    /// <summary>One for each store that there is, the default first.</summary>
    public static IReadOnlyList<StoreChangeFormat> All { get; } = [.. StoreFormats.All.Select(store => new StoreChangeFormat(store))];

    /// <summary>The store of that name. Throws <see cref="LincowException"/> when there is none.</summary>
    public static StoreChangeFormat Of(string name) => All.First(format => format._store == StoreFormats.Named(name));

    public string Name => _store.Traits.Name;

    public bool Recognises(LinuxFile file, ReadOnlySpan<byte> head) => StoreFormats.Recognise(file, head) == _store;

    public IChangeSource Open(ChangeSourceOptions options)
    {
        _store.RequireConvertible(options.Path);
        return new OverlaySource(options);
    }

    public int ChunkFor(long? wanted, int source, long deviceBytes) =>
        1 << DeviceSize.ChunkShift(wanted ?? Math.Max(source, OverlayConverter.UsualChunkBytes));

    public void RequireFreeName(string path) => OverlayCreator.RequireFreeName(path);

    public IChangeSink Create(ChangeSinkOptions options) => _store.CreateSink(options);
}
