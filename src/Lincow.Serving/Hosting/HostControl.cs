using Lincow.Serving.Control;

namespace Lincow.Serving.Hosting;

/// <summary>
/// What others ask of a host over its control socket: each is a call of a method that programs have as well. On the thread of the loop in
/// front, so it never waits.
/// </summary>
internal sealed class HostControl(Host host)
{
    public void Handle(ControlRequest request, Action<ControlReply> reply)
    {
        switch (request.Verb)
        {
            case ControlRequest.Status:
                var served = host.Served;
                var ids = served.Select(export => export.Id);
                reply(new ControlReply(null, [.. served.Select(export => export.Counters)]) { Exports = [.. ids] });
                break;
            case ControlRequest.Reset when host.Served.FirstOrDefault(export => export.Id == request.Export) is { } export:
                host.Reset(export, request.Force, outcome =>
                    reply(Failed(outcome.Error) with { Holder = outcome.Holder, Clients = outcome.Clients }));
                break;
            case ControlRequest.Reset:
                reply(Failed(ControlErrors.ServedNoMore()));
                break;
            case ControlRequest.Detach when host.OnDetach is { } detach:
                detach(request.WaitSeconds, error => reply(Failed(error)));
                break;
            case ControlRequest.Detach:
                reply(Failed(ControlErrors.NotAttached()));
                break;
            case ControlRequest.Stop:
                host.EndServing(request.Export, error => reply(Failed(error)));
                break;
            default:
                reply(Failed(ControlErrors.RequestUnknown(request.Verb)));
                break;
        }
    }

    /// <summary>Null says that nothing went wrong.</summary>
    private ControlReply Failed(LincowError? error) => ControlReply.Of(error, host.Options.Describe);
}

/// <summary>How a reset went.</summary>
/// <param name="Error">Why it was refused or failed; null when it is done.</param>
/// <param name="Holder">Who uses the device, so that it was refused.</param>
/// <param name="Clients">NBD clients that are connected, and may remember what was before.</param>
internal readonly record struct ResetOutcome(LincowError? Error, string? Holder = null, int Clients = 0);
