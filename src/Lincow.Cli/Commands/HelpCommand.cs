using System.CommandLine;

namespace Lincow.Cli.Commands;

/// <summary><c>lincow help</c> and <c>lincow version</c>: as <c>--help</c> and <c>--version</c>, for those who type a word.</summary>
internal static class HelpCommand
{
    public static Command Build(RootCommand root)
    {
        var name = new Argument<string?>("COMMAND") { Description = "A command", Arity = ArgumentArity.ZeroOrOne };
        var command = new Command("help", "Show help, of lincow or of one of its commands.") { name };
        command.SetAction(result => Again(root, result.GetValue(name) is { } wanted ? [Usage.FindCommand(root, wanted).Name, "--help"]
            : ["--help"]));
        return command.WithExamples("""
              lincow help
              lincow help serve                             # the same as: lincow serve --help
            """);
    }

    public static Command BuildVersion(RootCommand root)
    {
        var command = new Command("version", "Print the version.");
        command.SetAction(_ => Again(root, ["--version"]));
        return command.WithExamples("""
              lincow version                                # the same as: lincow --version
            """);
    }

    private static int Again(RootCommand root, string[] words) =>
        root.Parse(words).Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
}
