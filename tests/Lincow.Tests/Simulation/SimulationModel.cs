namespace Lincow.Tests.Simulation;

/// <summary>
/// One write as the client saw it. Zeroing is a write of zeroes; content that was read when nobody wrote counts as written by then.
/// </summary>
internal sealed class ModelWrite(long submitted)
{
    public long Submitted { get; } = submitted;

    /// <summary>When its end was told; never, while it is in flight.</summary>
    public long Completed { get; set; } = long.MaxValue;

    /// <summary>It was told to have succeeded. One that has failed may have done any part of its work.</summary>
    public bool Succeeded { get; set; }
}

/// <summary>A content that a cell may hold, and who wrote it.</summary>
/// <param name="Stamp">The content.</param>
/// <param name="By">Who wrote it.</param>
/// <param name="IsGone">No cut brings it back; a read that was on its way before may still return it.</param>
internal readonly record struct ModelContent(ulong Stamp, ModelWrite By, bool IsGone = false);

/// <summary>
/// What each cell of the device may hold. It knows nothing of chunks, maps or syncs, and one rule: a write that has succeeded replaces
/// every write that had ended before it was submitted. So
///
///     a read may return             what nothing that had ended before the read was submitted has replaced
///     a power cut may leave         what nothing that had ended before an acknowledged flush was submitted has replaced
///
/// and writes that were in flight together may come in any order. Every cell that is written gets a stamp of its own, so its content tells
/// which write it is from.
/// </summary>
internal sealed class SimulationModel
{
    private readonly List<ModelContent>[] _cells;
    private readonly HashSet<int> _open = [];
    private readonly ulong[] _origin;

    public SimulationModel(ulong[] origin)
    {
        _origin = origin;
        _cells = new List<ModelContent>[origin.Length];
        for (var i = 0; i < _cells.Length; i++)
            _cells[i] = [];
        BecomeOrigin();
    }

    /// <summary>Reads whose end nobody has heard of: what they may return is kept until there are none.</summary>
    public int ReadsInFlight { get; set; }

    public int CellCount => _cells.Length;

    /// <summary>After a reset, or a create.</summary>
    public void BecomeOrigin()
    {
        for (var i = 0; i < _cells.Length; i++)
            Become(i, _origin[i]);
    }

    /// <summary>The cell's content is known, and stable.</summary>
    public void Become(int cell, ulong stamp)
    {
        _cells[cell].Clear();
        _cells[cell].Add(new ModelContent(stamp, new ModelWrite(0) { Completed = 0, Succeeded = true }));
        _open.Remove(cell);
    }

    public bool IsOrigin(int cell, ulong stamp) => _origin[cell] == stamp;

    public void Begin(int cell, ulong stamp, ModelWrite write)
    {
        _cells[cell].Add(new ModelContent(stamp, write));
        _open.Add(cell);
    }

    /// <summary>Whether a read of the given times may return a content.</summary>
    public bool MayRead(int cell, ulong stamp, long submitted)
    {
        foreach (var content in _cells[cell])
        {
            if (content.Stamp == stamp && !IsReplaced(cell, content.By, submitted))
                return true;
        }
        return false;
    }

    /// <summary>Whether the cell may hold a content after a cut.</summary>
    public bool MayHold(int cell, ulong stamp)
    {
        foreach (var content in _cells[cell])
        {
            if (content.Stamp == stamp && !content.IsGone)
                return true;
        }
        return false;
    }

    /// <summary>A cell was read while nobody wrote it: whatever was in doubt isn't any more.</summary>
    public void Saw(int cell, ulong stamp, long submitted, long completed)
    {
        var contents = _cells[cell];
        if (contents.Count == 1)
            return;
        foreach (var content in contents)
        {
            if (content.By.Completed >= submitted)
                return;
        }
        contents.Add(new ModelContent(stamp, new ModelWrite(submitted) { Completed = completed, Succeeded = true }));
    }

    /// <summary>A flush that was submitted at a time has succeeded.</summary>
    public void Flushed(long submitted)
    {
        foreach (var cell in _open)
        {
            var contents = _cells[cell];
            for (var i = contents.Count - 1; i >= 0; i--)
            {
                if (contents[i].IsGone || IsReplaced(cell, contents[i].By, submitted))
                    Drop(contents, i);
            }
            if (contents.Count == 1)
                _open.Remove(cell);
        }
    }

    /// <summary>A write with FUA has succeeded: itself, it is stable.</summary>
    public void Forced(int cell, ModelWrite write)
    {
        var contents = _cells[cell];
        for (var i = contents.Count - 1; i >= 0; i--)
        {
            if (contents[i].By.Completed < write.Submitted)
                Drop(contents, i);
        }
    }

    /// <summary>The device is gone, with all that was in flight: every content that was not replaced for good may be there.</summary>
    public void Crash(long now)
    {
        var past = new ModelWrite(0) { Completed = now };
        foreach (var cell in _open)
        {
            var contents = _cells[cell];
            contents.RemoveAll(content => content.IsGone);
            for (var i = 0; i < contents.Count; i++)
                contents[i] = contents[i] with { By = past };
        }
    }

    public string Describe(int cell) =>
        string.Join(" or ", _cells[cell].Select(content => $"{content.Stamp} (submitted {content.By.Submitted}, {Ended(content.By)})"));

    private void Drop(List<ModelContent> contents, int index)
    {
        if (ReadsInFlight == 0)
            contents.RemoveAt(index);
        else
            contents[index] = contents[index] with { IsGone = true };
    }

    private static string Ended(ModelWrite write) =>
        write.Completed == long.MaxValue ? "in flight" : $"ended {write.Completed}{(write.Succeeded ? "" : ", not known to be good")}";

    private bool IsReplaced(int cell, ModelWrite write, long time)
    {
        foreach (var later in _cells[cell])
        {
            if (later.By.Succeeded && later.By.Completed < time && write.Completed < later.By.Submitted)
                return true;
        }
        return false;
    }
}
