using Lincow.Bench.Running;

namespace Lincow.Bench.Subjects;

/// <summary>What a subject is compared as.</summary>
internal enum Role
{
    /// <summary>lincow, in one of its modes.</summary>
    Lincow,

    /// <summary>Another copy-on-write server over the same origin.</summary>
    Peer,

    /// <summary>A server of a private copy of the origin: what copy-on-write is measured against.</summary>
    Raw,

    /// <summary>A server that stores nothing: what the client can do at most.</summary>
    Ceiling,
}

/// <summary>A server under test: how a fresh overlay is made, and how it is served on <see cref="Workspace.Socket"/>.</summary>
internal sealed record Subject(string Name, Role Role, Func<Workspace, string[]> Serve)
{
    private static readonly IReadOnlyDictionary<string, string> NoEnvironment = new Dictionary<string, string>();

    /// <summary>The command that makes an overlay; null if serving is all there is to it.</summary>
    public Func<Workspace, string[]>? Create { get; init; }

    /// <summary>The environment that the server gets in addition.</summary>
    public Func<Workspace, IReadOnlyDictionary<string, string>> Environment { get; init; } = _ => NoEnvironment;

    /// <summary>
    /// How it becomes a file or block device of this machine, for the rows that are about that; it is not served over NBD then.
    /// </summary>
    public Func<Workspace, CancellationToken, Attached>? Attach { get; init; }

    /// <summary>Its name in Kernel/job, for the rows that are measured in a guest; it is not served here then.</summary>
    public string? GuestName { get; init; }

    /// <summary>Where the bytes of the device lie at rest, for counting extents; null for those that forget them.</summary>
    public Func<Workspace, string>? DataFile { get; init; }

    /// <summary>A FLUSH is answered and nothing is synced, so its flushing writes can't be compared with those of others.</summary>
    public bool IgnoresFlush { get; init; }

    public bool IsCopyOnWrite => Role is Role.Lincow or Role.Peer;

    public ServerProcess Start(Workspace work, IReadOnlyDictionary<string, string>? more = null) =>
        ServerProcess.Start(Serve(work), more is null ? Environment(work) : Environment(work).Concat(more).ToDictionary());

    /// <summary>Makes a fresh overlay, if there is anything to make.</summary>
    public void MakeOverlay(Workspace work, CancellationToken stop)
    {
        if (Create?.Invoke(work) is { } command)
            Tool.Run(command[0], command[1..], stop);
    }
}
