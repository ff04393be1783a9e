using Lincow.Serving.Control;

namespace Lincow.Cli.Output;

/// <summary>What a server answers, in the command line's words.</summary>
internal static class ReplyText
{
    /// <summary>
    /// What went wrong; null when nothing did. In this program's words if the server says what it was, else, or if it is newer and says
    /// what is unknown here, in the server's.
    /// </summary>
    public static string? Of(ControlReply reply) => reply.Problem?.ToError() is { } error ? ErrorText.Of(error) : reply.Error;
}
