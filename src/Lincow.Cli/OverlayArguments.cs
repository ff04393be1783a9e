using System.CommandLine;
using Lincow.Operations;

namespace Lincow.Cli;

/// <summary>What a command that opens one existing overlay is told of it.</summary>
internal sealed class OverlayArguments
{
    private readonly Argument<string> _overlay = Options.Overlay();
    private readonly Option<string?> _map = Options.Map(), _origin = Options.Origin();
    private readonly Option<bool> _acceptOrigin = Options.AcceptOrigin(), _acceptMap = Options.AcceptMap();

    public void AddTo(Command command)
    {
        command.Add(_overlay);
        command.Add(_map);
        command.Add(_origin);
        command.Add(_acceptOrigin);
        command.Add(_acceptMap);
    }

    public OverlayOptions Read(ParseResult result) => new()
    {
        Overlay = result.GetValue(_overlay),
        Map = result.GetValue(_map),
        Origin = result.GetValue(_origin),
        AcceptOrigin = result.GetValue(_acceptOrigin),
        AcceptMap = result.GetValue(_acceptMap),
        Warn = CommandRunner.Warn,
    };
}
