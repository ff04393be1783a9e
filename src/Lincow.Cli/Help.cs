using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace Lincow.Cli;

/// <summary>Puts examples behind every command's help.</summary>
internal static class Help
{
    private static readonly Dictionary<Command, string> Examples = [];

    /// <summary>Sets a command's examples: lines of shell, with comments.</summary>
    public static Command WithExamples(this Command command, string examples)
    {
        Examples[command] = examples;
        return command;
    }

    public static void Install(RootCommand root)
    {
        root.WithExamples("""
              lincow create work.cow --origin golden.img       # an overlay over an image
              lincow serve work.cow --nbd unix:/tmp/work.sock  # a device for any NBD client
              lincow reset work.cow                            # back to the image, at once
              lincow help COMMAND                              # more, with examples
            """);
        // The parser's own also take /h and /?, which are paths here, and [words] in front as directives.
        root.Directives.Clear();
        root.Options.Clear();
        var help = new HelpOption("--help", "-h", "-?") { Description = "Show help" };
        help.Action = new Action((HelpAction)help.Action!);
        root.Add(help);
        root.Add(new VersionOption("--version", "-V") { Description = "Print the version" });
    }

    /// <summary>"lincow serve".</summary>
    public static string CommandPath(Command command) => command is RootCommand ? "lincow" : "lincow " + command.Name;

    internal sealed class Action(HelpAction inner) : SynchronousCommandLineAction
    {
        public override bool ClearsParseErrors => true;

        public override int Invoke(ParseResult parseResult)
        {
            var status = inner.Invoke(parseResult);
            if (Examples.TryGetValue(parseResult.CommandResult.Command, out var examples))
                Console.Out.WriteLine("Examples:\n" + examples + "\n");
            return status;
        }
    }
}
