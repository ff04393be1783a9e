using System.Net.Sockets;
using System.Text.RegularExpressions;

namespace Lincow.Linux;

/// <summary>
/// Why something of .NET's failed, in the system's words: "Permission denied", as every other program on this machine says it, instead of
/// "Access to the path '...' is denied."
/// </summary>
internal static partial class SystemReason
{
    /// <summary>The system's sentence for the error number; .NET's, if there is none.</summary>
    public static string Of(Exception exception) => NumberOf(exception) is { } errno ? Errno.Describe(errno) : exception.Message;

    /// <summary>The same, after the path that it was about and that .NET mentions: "/data/a.img: Permission denied".</summary>
    public static string WithPath(Exception exception) => exception switch
    {
        LinuxException => exception.Message,
        IOException or UnauthorizedAccessException when PathIn(exception) is { } path => $"{path}: {Of(exception)}",
        _ => Of(exception),
    };

    private static int? NumberOf(Exception exception) => exception switch
    {
        LinuxException linux => linux.Errno,
        FileNotFoundException or DirectoryNotFoundException => Errno.NoEntry,
        PathTooLongException => Errno.NameTooLong,
        UnauthorizedAccessException { InnerException: IOException cause } => NumberOf(cause) ?? Errno.Access,
        UnauthorizedAccessException => Errno.Access,
        // What .NET makes of a system call's error has its number there.
        IOException { HResult: > 0 and < 4096 and var errno } => errno,
        SocketException { NativeErrorCode: > 0 and var errno } when !IsOfTheResolver(exception) => errno,
        _ => null,
    };

    // Of looking up a name, which has numbers of its own.
    private static bool IsOfTheResolver(Exception exception) =>
        exception is SocketException { SocketErrorCode: SocketError.HostNotFound or SocketError.TryAgain or SocketError.NoData };

    private static string? PathIn(Exception exception) =>
        exception is FileNotFoundException { FileName: { Length: > 0 } name } ? name
        : Quoted().Match(exception.Message) is { Success: true } match ? match.Groups[1].Value : null;

    [GeneratedRegex("'(.+)'", RegexOptions.Singleline)]
    private static partial Regex Quoted();
}
