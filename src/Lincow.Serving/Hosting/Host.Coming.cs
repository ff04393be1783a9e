using Lincow.Linux;
using Lincow.Operations;
using Lincow.Origins;
using Lincow.Serving.Attach;
using Lincow.Serving.Control;
using Lincow.Serving.Exports;
using Lincow.Serving.Frontends.Nbd;

namespace Lincow.Serving.Hosting;

// How exports and listeners come, and what the run directory is told of them.
public sealed partial class Host
{
    private async Task<List<Export>> OpenAsync(IReadOnlyList<ExportOptions> wanted, LiveOriginOptions? live, CancellationToken stop)
    {
        lock (_gate)
            ThrowIfStopped();
        var openings = new List<OverlayOpening>();
        var groups = new List<ExportGroup>();
        LiveOrigin? origin = null;
        try
        {
            origin = live is null ? null : LiveOrigin.Claim(live.Origin);
            foreach (var options in wanted)
            {
                if (!Options.TakesOverDevices && !options.Overlay.ReadOnly)
                    WaitingDevice.Refuse(options.Overlay.Overlay, options.Overlay.Map);
                WaitingDevice.Refuse(options.Overlay.TransientData);
                openings.Add(await OverlaySession.PrepareHereAsync(options.Overlay, stop).ConfigureAwait(false));
            }
            if (live is null)
            {
                for (var i = 0; i < wanted.Count; i++)
                    groups.Add(Begin([wanted[i]], [openings[i]], null, null));
            }
            else
            {
                groups.Add(Begin(wanted, openings, live, origin));
            }
            List<Export> exports = [.. groups.SelectMany(group => group.Exports)];
            Announce(groups, exports);
            return exports;
        }
        catch
        {
            openings.ForEach(opening => opening.Dispose());
            groups.ForEach(group => Undo(group, group.Exports.Count));
            origin?.Dispose();
            throw;
        }
    }

    /// <summary>Makes the devices of a group, on a loop that it may be on.</summary>
    private ExportGroup Begin(IReadOnlyList<ExportOptions> wanted, List<OverlayOpening> openings, LiveOriginOptions? live,
        LiveOrigin? origin)
    {
        var count = wanted.Count + (live is null ? 0 : 1);
        var places = openings.SelectMany(opening => opening.Places.Split(' ')).Distinct().ToArray();
        Array.Sort(places, string.CompareOrdinal);
        var thread = _pool.Take(string.Join(' ', places), count);
        var exports = new List<Export>();
        try
        {
            for (var i = 0; i < wanted.Count; i++)
            {
                var opening = openings[i];
                exports.Add(Describe(thread.Loop.Invoke(() => opening.Begin(thread.Loop)), wanted[i], thread.Loop));
            }
            if (live is not null)
                exports.Add(Describe(live, origin!, [.. exports.Select(export => export.Session!)], thread.Loop));
            return new ExportGroup(thread, exports, origin);
        }
        catch
        {
            Undo(new ExportGroup(thread, exports, null), count);
            throw;
        }
    }

    private Export Describe(OverlaySession session, ExportOptions options, IoLoop loop)
    {
        var overlay = options.Overlay;
        session.Report = Options.Report;
        if (session.IsCommitUnfinished)
            Options.Report(OverlaySession.UnfinishedCommit(overlay.Overlay!));
        var origin = overlay.Overlay is null ? overlay.Origin ?? overlay.UserOrigin?.Name : null;
        // Whatever a disk's block is, a page is a multiple of it.
        return new Export(options.Name ?? session.Name, session.Device, loop, overlay.Overlay ?? "transient over " + origin,
            overlay.Direct ? 4096 : 1)
        {
            Id = Interlocked.Increment(ref _nextId) - 1,
            Overlay = overlay.Overlay is { } path ? LinuxPath.Full(path) : null,
            Map = overlay.Map is { } map ? LinuxPath.Full(map) : null,
            Origin = origin,
            Session = session,
        };
    }

    private Export Describe(LiveOriginOptions options, LiveOrigin origin, IReadOnlyList<OverlaySession> snapshots, IoLoop loop)
    {
        var device = loop.Invoke(() => origin.Begin(snapshots, loop));
        device.Report = Options.Report;
        var place = OriginReference.Parse(options.Origin).Place;
        return new Export(options.Name ?? Path.GetFileNameWithoutExtension(place), device, loop, "live origin")
        {
            Id = Interlocked.Increment(ref _nextId) - 1,
            LiveOrigin = place,
        };
    }

    /// <summary>Everything has begun: clients find it.</summary>
    private void Announce(List<ExportGroup> groups, List<Export> exports)
    {
        lock (_gate)
        {
            ThrowIfStopped();
            if (_table.TryAdd(exports) is { } taken)
                throw new LincowException(HostErrors.ExportNameTaken(taken));
            _groups.AddRange(groups);
            _served = [.. _served, .. exports];
            foreach (var export in exports)
                _records.Add(export, NewRecord(export));
        }
        foreach (var export in exports)
        {
            if (export.Session is { } session)
                export.Loop.Post(session.StartReclaiming);
        }
        Publish();
    }

    /// <summary>Closes what nobody has found yet. It has not been written to, so nothing is lost whatever goes wrong.</summary>
    private void Undo(ExportGroup group, int deviceCount)
    {
        var end = new HostEnd(Options.StopTimeout);
        foreach (var failure in end.RunAsync([(group, Task.CompletedTask)]).GetAwaiter().GetResult())
            Options.Report(failure);
        if (_pool.Release(group.Thread, deviceCount))
            end.StopThread(group.Thread);
    }

    /// <summary>What others are told of an export that is served here.</summary>
    internal ExportRecord RecordOf(Export export)
    {
        lock (_gate)
            return _records[export];
    }

    private static ExportRecord NewRecord(Export export) => new()
    {
        Id = export.Id,
        Name = export.Name,
        Overlay = export.Overlay,
        Map = export.Map,
        Origin = export.Origin,
        LiveOrigin = export.LiveOrigin,
        SizeBytes = export.SizeBytes,
        SectorBytes = export.Device.SectorBytes,
        ReadOnly = export.IsReadOnly,
    };

    /// <summary>The NBD server, which offers TLS from here on if it is given.</summary>
    private NbdServer NbdWith(TlsSettings? tls)
    {
        lock (_gate)
        {
            ThrowIfStopped();
            if (tls is not null && !_tls.Contains(tls))
                _tls.Add(tls);
            return _nbd ??= new NbdServer(Front, _table, Options.Log);
        }
    }

    private Listener Start(Listener listener)
    {
        lock (_gate)
        {
            if (_stopped is null)
                _listeners.Add(listener);
            _isRegistering = Options.IsRegistered;
        }
        if (!Listeners.Contains(listener))
        {
            _ = listener.StopAcceptingAsync();
            throw new ObjectDisposedException(nameof(Host));
        }
        listener.Start();
        Publish();
        return listener;
    }

    /// <summary>Writes down what is served, and begins with it if that is due.</summary>
    private void Publish()
    {
        try
        {
            lock (_recordGate)
                WriteRecord();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Options.Report(ControlErrors.RecordUnwritable(RunDirectory.DefaultPath, e));
        }
    }

    // Under its gate.
    private void WriteRecord()
    {
        List<ExportRecord> records;
        lock (_gate)
        {
            if (!_isRegistering || _stopped is not null)
                return;
            records = [.. _served.Select(export =>
                _records[export] with { Uris = [.. _listeners.Select(listener => listener.UriOf(export)).OfType<string>()] })];
        }
        if (_registration is { } registration)
            registration.Write(records);
        else
            _registration = Registration.TryBegin(Options.Command, _pool.Front, records, new HostControl(this).Handle, Options.Log,
                out _unregistered);
    }

    /// <summary>
    /// Says of an export how it is attached. Throws where that can't be written down, for nobody could clean up after a crash then.
    /// </summary>
    internal void NoteAttachment(Export export, Func<ExportRecord, ExportRecord> change)
    {
        lock (_recordGate)
        {
            lock (_gate)
            {
                _records[export] = change(_records[export]);
                _isRegistering = Options.IsRegistered;
            }
            WriteRecord();
            if (_registration is null)
                throw new LincowException(_unregistered ?? ControlErrors.NoRunDirectory());
        }
    }

    /// <summary>
    /// Standard output and error of the process go to a file next to the record from here on; nowhere, if it has none.
    /// </summary>
    internal void RedirectToLog()
    {
        if (_registration is { } registration)
            registration.RedirectToLog();
        else
            LinuxProcess.RedirectStandardStreams(path: null);
    }

    private void ThrowIfStopped() => ObjectDisposedException.ThrowIf(_stopped is not null, this);
}
