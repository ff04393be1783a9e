using Lincow.Stores;

namespace Lincow;

/// <summary>A way in which overlays keep their chunks (a store), and which options go with it.</summary>
/// <param name="Name">As <c>--store</c> and <c>--to</c> name it.</param>
/// <param name="DmTarget">The device-mapper target whose table describes it.</param>
internal sealed record StoreTraits(string Name, string DmTarget)
{
    /// <summary>The store that is meant where none is named.</summary>
    public const string DefaultName = "linear";

    /// <summary>Every store that there is, the one that is meant where none is named first.</summary>
    public static IReadOnlyList<StoreTraits> All => [.. StoreFormats.All.Select(format => format.Traits)];

    /// <summary>Its metadata can lie in a file of its own, and leave room for a larger device.</summary>
    public bool TakesMap { get; init; }

    /// <summary>It has a size of its own, which can be smaller than what it may have to keep.</summary>
    public bool CanBeFull { get; init; }

    /// <summary>The store of that name. Throws <see cref="LincowException"/> when there is none.</summary>
    public static StoreTraits Of(string name) => StoreFormats.Named(name).Traits;
}
