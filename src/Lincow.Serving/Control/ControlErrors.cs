using Lincow.Linux;
using Code = Lincow.LincowErrorCode;

namespace Lincow.Serving.Control;

/// <summary>Errors of the run directory and of what is asked over control sockets.</summary>
internal static class ControlErrors
{
    private const string Advice = "Set LINCOW_RUN_DIR to a directory of yours";

    public static LincowError NoRunDirectory() => new(Code.NoRunDirectory, null,
        "there is no directory for what is attached: set XDG_RUNTIME_DIR, or LINCOW_RUN_DIR to a directory of yours");

    public static LincowError RunDirectoryUnmakeable(string path, Exception e) => new(Code.RunDirectoryUnusable, path,
        $"{path}: the directory for running servers can't be made: {e.Message}. {Advice}", new LincowFact("reason", e.Message));

    public static LincowError RunDirectoryUnreadable(string path, LinuxException e) => new(Code.RunDirectoryUnusable, path,
        $"{path}: the directory for running servers can't be read: {e.Reason}. {Advice}", new("reason", e.Reason), LincowFact.Errno(e));

    public static LincowError RunDirectoryUnprintable(string path) => new(Code.RunDirectoryUnusable, path,
        $"{path}: the path of the directory for running servers has a control character in it. {Advice}, with another name");

    public static LincowError RunDirectoryUntrusted(string path) => new(Code.RunDirectoryUnusable, path,
        $"{path}: belongs to somebody else or may be written by others, so what it says of servers can't be believed. {Advice}");

    public static LincowError RecordUnwritable(string? path, Exception e) => new(Code.RecordUnwritable, path,
        $"{path}: what is served can't be written down: {e.Message}", new LincowFact("reason", e.Message));

    public static LincowError NoRequest() => new(Code.RequestUnknown, null,
        "that is no request: send one line of JSON, for example {\"verb\":\"status\"}");

    public static LincowError RequestUnknown(string verb) => new(Code.RequestUnknown, null, $"the request '{verb}' is unknown",
        new LincowFact("verb", verb));

    public static LincowError RequestFailed(string verb, Exception e) => new(Code.LincowFault, null,
        $"the request '{verb}' failed: {e.Message}", new("verb", verb), new("reason", e.Message));

    /// <summary>An export that was asked about by its number.</summary>
    public static LincowError ServedNoMore() => new(Code.ServedNoMore, null, "it is served no more");

    public static LincowError NotAttached() => new(Code.NotAttached, null,
        "it is served without being attached; end that process instead");
}
