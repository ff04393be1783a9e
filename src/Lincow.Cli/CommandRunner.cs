using System.CommandLine;
using Lincow.Cli.Output;
using Lincow.Linux;

namespace Lincow.Cli;

/// <summary>
/// Runs the parsed command and turns failures into the exit statuses that scripts rely on: 0, 1 with one line, 2 for wrong usage.
/// </summary>
internal static class CommandRunner
{
    public const int Failed = 1, WrongUsage = 2, DamageFound = 3;

    public static int Run(RootCommand root, string[] arguments)
    {
        // A path may begin with @; there are no response files, and no several options behind one -.
        var result = root.Parse(arguments, new ParserConfiguration { ResponseFileTokenReplacer = null, EnablePosixBundling = false });
        try
        {
            Usage.Judge(root, arguments);
            if (result.Errors.Count > 0 && result.Action is not Help.Action)
            {
                // A mistyped command is reported twice; the sentence that names it helps.
                Error(OneLine((result.Errors.FirstOrDefault(error => error.Message.Contains('\'', StringComparison.Ordinal))
                    ?? result.Errors[0]).Message));
                Log.Say($"Try '{Help.CommandPath(result.CommandResult.Command)} --help'");
                return WrongUsage;
            }
            if (result.Action is not Help.Action && result.CommandResult.Command is not RootCommand)
                Names.Check(result.CommandResult.Command.Name);
            return result.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
        }
        catch (UsageException e)
        {
            Error(e.Message);
            Log.Say($"Try '{Help.CommandPath(result.CommandResult.Command)} --help'");
            return WrongUsage;
        }
        catch (Exception e) when (IsFailure(e))
        {
            Error(ErrorText.Of(e));
            return Failed;
        }
        catch (Exception e)
        {
            Error($"an error of lincow itself, please report it: {e.GetType().Name}: {e.Message}");
            if (Environment.GetEnvironmentVariable("LINCOW_DEBUG") is not null)
                Log.Say(e.ToString());
            return Failed;
        }
        finally
        {
            Log.Drain();
        }
    }

    /// <summary>Whether an exception says what is wrong with what was asked for, or with this machine.</summary>
    public static bool IsFailure(Exception exception) => exception is LincowException or CommandException or LinuxException or IOException
        or UnauthorizedAccessException or ArgumentException;

    /// <summary>The parser puts a list of what may be given into lines of their own.</summary>
    private static string OneLine(string message) => string.Join(' ', message.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));

    public static void Error(string message) => Log.Say("lincow: error: " + Printable.Text(message));

    public static void Warn(LincowError error) => Warn(ErrorText.Of(error));

    public static void Warn(string message) => Log.Say("lincow: " + Printable.Text(message));
}

/// <summary>What fails in a command itself, rather than in the library: exit status 1 with this sentence.</summary>
internal sealed class CommandException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>Options that don't go together: exit status 2.</summary>
internal sealed class UsageException(string message) : Exception(message);
