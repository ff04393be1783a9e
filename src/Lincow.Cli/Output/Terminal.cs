using System.Text;
using Lincow.Linux;

namespace Lincow.Cli.Output;

/// <summary>Standard output and error, and what a terminal is told there beside text.</summary>
internal static class Terminal
{
    private const string Bold = "\e[1m", Plain = "\e[0m";

    /// <summary>To be called before anything is written.</summary>
    public static void Begin()
    {
        Console.SetOut(Open(1));
        Console.SetError(Open(2));
    }

    /// <summary>A title on standard output: bold on a terminal, unless NO_COLOR is set (no-color.org).</summary>
    public static string Title(string text) =>
        Console.IsOutputRedirected || !string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR")) ? text : Bold + text + Plain;

    private static StreamWriter Open(int descriptor) =>
        new(new OutputStream(descriptor), new UTF8Encoding(false), 4096) { AutoFlush = true };
}
