using System.CommandLine;

namespace Lincow.Cli.Commands;

internal static class DemoCommand
{
    public static Command Build()
    {
        var command = new Command("demo", "The whole story in a minute, with real tools, on an image that it makes itself.");
        command.SetAction(_ => Demo.Run());
        return command.WithExamples("""
              lincow demo
            """);
    }
}
