using Lincow.Serving.Control;

namespace Lincow.Cli;

/// <summary>What a serving process does when it is asked over its control socket. Called on the thread of the loop in front, so it never waits.</summary>
internal sealed class ServeControl(ServeHost host)
{
    private const string Fault = "an error of lincow itself ended it; start the server again";

    private readonly ServedSession[] _sessions = [.. host.Sessions];

    public void Handle(ControlRequest request, Action<ControlReply> reply)
    {
        switch (request.Verb)
        {
            case ControlRequest.Status:
                reply(new ControlReply(null, [.. _sessions.Select(Count)]));
                break;
            case ControlRequest.Reset when request.Export >= 0 && request.Export < _sessions.Length:
                if (_sessions[request.Export].Thread.Loop is { IsAbandoned: false } loop)
                    loop.Post(() => Reset(request, reply));
                else
                    reply(new ControlReply(Fault));
                break;
            case ControlRequest.Detach when host.OnDetach is { } detach:
                detach(request, reply);
                break;
            case ControlRequest.Detach:
                reply(new ControlReply("it is served without being attached; end that process instead"));
                break;
            default:
                reply(new ControlReply($"the request '{request.Verb}' is unknown"));
                break;
        }
    }

    // Whoever comes on this loop behind the look waits until the reset is done, and sees what is behind it.
    private void Reset(ControlRequest request, Action<ControlReply> reply)
    {
        var session = _sessions[request.Export].Session;
        if (!request.Force && host.HolderOf(request.Export) is { } holder)
            reply(new ControlReply($"{session.Name}: is still in use: {holder}", Holder: holder));
        else
            session.Reset(failure => reply(new ControlReply(failure?.Message, Clients: host.ClientsOf(request.Export))), request.Force);
    }

    // Another loop may be counting meanwhile: each number is as it was a moment ago. Nothing here touches a file, which might stand still or be closed.
    private static ExportCounters Count(ServedSession served)
    {
        var session = served.Session;
        var (device, counters) = (session.Device, session.Device.Counters);
        return new ExportCounters(device.RequestCount, counters.Reads, counters.Writes, counters.Discards, counters.Flushes, device.RoundCount,
            counters.BytesRead, counters.BytesWritten, counters.BytesDiscarded, device.InFlight, served.Thread.Loop.IsAbandoned ? Fault : session.FailedBecause,
            session.DmStatus, session.AreaCache is { } cache ? new AreaCacheCounters(cache.Areas, cache.Hits, cache.Misses) : null);
    }
}
