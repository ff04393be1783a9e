namespace Lincow.Serving.Exports;

/// <summary>
/// The exports of a host by name, in the order in which they came. Any thread may look and change it: whoever looks sees the table as it
/// was at one moment.
///
/// Clients make up names ("", "default", "sda"), so a host's only export answers to every name. But a client that comes back must not get
/// another device than the one it had: as soon as a table has had a second export, names have to be right, and the empty name means the
/// first one that there was, as long as it is there.
/// </summary>
internal sealed class ExportTable
{
    private readonly Lock _gate = new();
    private volatile Export[] _all;
    private volatile Export? _first;
    private volatile bool _hasHadSeveral;

    public ExportTable(params Export[] exports) => (_all, _first, _hasHadSeveral) = (exports, exports.FirstOrDefault(), exports.Length > 1);

    /// <summary>All of them; the list that is returned doesn't change.</summary>
    public IReadOnlyList<Export> All => _all;

    /// <summary>The export that a client means by a name; null when there is none.</summary>
    public Export? Find(string name)
    {
        var all = _all;
        // mutation: other-export-for-a-name-that-went
        if (name.Length == 0 || !_hasHadSeveral)
            return _first is { } first && all.Contains(first) ? first : null;
        return all.FirstOrDefault(export => export.Name == name);
    }

    /// <summary>The export of exactly that name.</summary>
    public Export? this[string name] => _all.FirstOrDefault(export => export.Name == name);

    /// <summary>
    /// Adds all of them or none. Returns the name that is taken already, or occurs twice; null when they have been added.
    /// </summary>
    public string? TryAdd(IReadOnlyList<Export> exports)
    {
        lock (_gate)
        {
            var names = _all.Select(export => export.Name).ToHashSet(StringComparer.Ordinal);
            foreach (var export in exports)
            {
                // mutation: name-taken-twice
                if (!names.Add(export.Name))
                    return export.Name;
            }
            // Before they can be found: whoever finds the second one sees that there are several.
            _hasHadSeveral |= _first is not null ? exports.Count > 0 : exports.Count > 1;
            _first ??= exports.Count > 0 ? exports[0] : null;
            _all = [.. _all, .. exports];
            return null;
        }
    }

    /// <summary>Takes exports away: nobody finds them any more.</summary>
    public void Remove(IReadOnlyCollection<Export> exports)
    {
        lock (_gate)
            _all = [.. _all.Where(export => !exports.Contains(export))];
    }
}
