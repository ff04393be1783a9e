using Lincow.Linux;
using Lincow.Serving.Control;
using Lincow.Serving.Exports;

namespace Lincow.Serving.Hosting;

// How exports, listeners and the host itself go, and what happens to them on the way.
public sealed partial class Host
{
    internal async Task StopListeningAsync(Listener listener)
    {
        await listener.StopAcceptingAsync();
        await listener.EndVhostAsync();
        lock (_gate)
            _listeners.Remove(listener);
        Publish();
    }

    internal void Reset(Export export, bool force, Action<ResetOutcome> done)
    {
        lock (_gate)
        {
            if (!export.IsLost && !export.IsEnding)
            {
                export.Loop.Post(() => ResetOnLoop(export, force, done));
                return;
            }
        }
        done(new ResetOutcome(export.IsLost ? HostErrors.ExportLost() : HostErrors.ServedNoMore(export.Name)));
    }

    /// <summary>
    /// Somebody asks that an export be served no more; with the last one, the host itself ends, as it does for
    /// <see cref="ControlRequest.All"/>. Others go on.
    /// </summary>
    internal void EndServing(int id, Action<LincowError?> done)
    {
        if (OnStop is not { } stop)
        {
            done(HostErrors.StopRefused(Options.Command));
            return;
        }
        var export = _served.FirstOrDefault(each => each.Id == id);
        bool isLast;
        // A live origin's snapshot is not the last: its origin would go with it.
        lock (_gate)
            isLast = id == ControlRequest.All || (export is not null
                && _groups.TrueForAll(group => group.Exports.Contains(export) && (group.Origin is null || group.Origin == export)));
        if (isLast)
            stop(done);
        else if (export is null)
            done(ControlErrors.ServedNoMore());
        else
            _ = Task.Run(() => RemoveAskedAsync(export, stop, done));
    }

    private async Task RemoveAskedAsync(Export export, Action<Action<LincowError?>> stop, Action<LincowError?> done)
    {
        try
        {
            await RemoveAsync(export);
        }
        catch (LincowException e)
        {
            done(e.Error);
            return;
        }
        // All may have been asked for one by one, at the same time.
        if (_served.Length == 0)
            stop(done);
        else
            done(null);
    }

    // Whoever comes on this loop after the look waits until the reset is done, and sees what is there then.
    private void ResetOnLoop(Export export, bool force, Action<ResetOutcome> done)
    {
        if (export.Session is not { } session)
            done(new ResetOutcome(HostErrors.NothingToReset(export.Name)));
        else if (!force && HolderOf(export) is { } holder)
            done(new ResetOutcome(HostErrors.DeviceHeld(export.Name, holder), holder));
        else
            session.Reset(failure => done(new ResetOutcome(failure?.Error, Clients: ClientsOf(export))), force);
    }

    /// <summary>
    /// Who uses an export's device and would not notice that its content is another one, for a sentence; null when nobody does. On its
    /// loop's thread.
    /// </summary>
    private string? HolderOf(Export export) =>
        // mutation: reset-under-a-virtual-machine
        Listeners.Any(listener => listener.Export == export && listener.Vhost!.IsConnected) ? "a virtual machine is connected by vhost-user"
        : export.OpenCount?.Invoke() is > 0 and var count ? $"its file is open {(count == 1 ? "once" : $"{count} times")}"
        : null;

    /// <summary>Lets nobody to a group's devices any more. Ends when nobody is left.</summary>
    private Task EndIntakeAsync(ExportGroup group)
    {
        var machines = Listeners.Where(listener => listener.Export is { } export && group.Exports.Contains(export))
            .Select(StopListeningAsync);
        var clients = _nbd is { } nbd ? group.Exports.Select(nbd.EndAsync) : [];
        return Task.WhenAll([.. machines, .. clients]);
    }

    private void Forget(ExportGroup group, HostEnd end)
    {
        group.Abandon();
        var isLoopEnding = _pool.Release(group.Thread, group.Exports.Count);
        foreach (var export in group.Exports)
            _nbd?.Forget(export, isLoopEnding);
        lock (_gate)
        {
            _groups.Remove(group);
            _served = [.. _served.Where(export => !group.Exports.Contains(export))];
            foreach (var export in group.Exports)
                _records.Remove(export);
        }
        Publish();
        if (isLoopEnding)
            end.StopThread(group.Thread);
    }

    // On the thread whose loop it was.
    private void LoopFaulted(LoopThread thread, Exception exception)
    {
        if (!_pool.Lose(thread))
            throw new InvalidOperationException("nothing else is served");
        var lost = _served.Where(export => export.Loop == thread.Loop).Select(export => export.Subject);
        Options.Log($"an error of lincow itself, please report it: {string.Join(", ", lost)}: served no more; what was written since the "
            + $"last flush is lost. The other overlays go on; start the server again to have it back. {exception}");
        _nbd?.LoseLoop(thread.Loop);
        foreach (var listener in Listeners.Where(listener => listener.Export?.Loop == thread.Loop))
        {
            _ = listener.StopAcceptingAsync();
            listener.Vhost!.LoseLoop();
        }
    }

    /// <summary>
    /// As <see cref="StopAsync"/>. <paramref name="report"/> is told what went wrong, or null, while the control socket can still pass it
    /// on.
    /// </summary>
    internal Task Stop(Action<LincowError?>? report)
    {
        lock (_gate)
            return _stopped ??= Task.Run(() => StopOnceAsync(report));
    }

    private async Task StopOnceAsync(Action<LincowError?>? report)
    {
        var end = new HostEnd(Options.StopTimeout);
        Registration? registration;
        lock (_recordGate)
            registration = _registration;
        // First: whoever asks from here on would ask about something that is being taken apart.
        registration?.StopAsking();
        ExportGroup[] groups;
        lock (_gate)
        {
            groups = [.. _groups];
            foreach (var export in _served)
                export.IsEnding = true;
        }
        await Task.WhenAll(Listeners.Select(listener => listener.StopAcceptingAsync()));
        var stopped = _nbd is { } nbd ? Front.StartUntilEnded(nbd.Stop) : Task.CompletedTask;
        var failures = await end.RunAsync(groups.Select(group => (group, EndIntakeAsync(group))));
        if (failures.Count == 0)
        {
            await stopped.WaitAsync(Options.StopTimeout).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            _tls.ForEach(tls => tls.WaitForPumps());
        }
        foreach (var group in groups)
            group.Abandon();
        var failure = failures.Count > 0 ? LincowError.Join(failures) : null;
        report?.Invoke(failure);
        registration?.End();
        foreach (var group in groups)
        {
            if (_pool.Release(group.Thread, group.Exports.Count))
                end.StopThread(group.Thread);
        }
        _pool.Dispose();
        if (failure is not null)
            throw new LincowException(failure);
    }
}
