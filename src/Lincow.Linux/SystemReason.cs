using System.Net.Sockets;

namespace Lincow.Linux;

/// <summary>
/// Why something of .NET's failed, in the system's words: "Permission denied", as every other program on this machine says it, instead of
/// "Access to the path '...' is denied."
/// </summary>
internal static class SystemReason
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

    private static string? PathIn(Exception exception)
    {
        if (exception is FileNotFoundException { FileName: { Length: > 0 } name })
            return name;
        var (from, to) = (exception.Message.IndexOf('\''), exception.Message.LastIndexOf('\''));
        return from >= 0 && to > from + 1 ? exception.Message[(from + 1)..to] : null;
    }
}
