namespace Lincow.SystemTests.Harness;

/// <summary>The usual case: a random origin, an overlay over it with its map in front, a server on a Unix socket.</summary>
internal sealed class ServedOverlay : IDisposable
{
    public const int DefaultBytes = 4 << 20;

    private readonly string[] _serve;
    private LincowServer? _server;

    /// <param name="bytes">The origin's length.</param>
    /// <param name="create">More options of create.</param>
    /// <param name="serve">More options of serve.</param>
    public ServedOverlay(int bytes = DefaultBytes, string[]? create = null, string[]? serve = null)
    {
        _serve = serve ?? [];
        Origin = Scratch.Random("origin.img", bytes);
        Overlay = Scratch["work.cow"];
        Cli.Ok(["create", Overlay, "--origin", Origin, .. create ?? []]);
        Start();
    }

    public Scratch Scratch { get; } = new();

    public string Origin { get; }

    public string Overlay { get; }

    public LincowServer Server => _server ?? throw new InvalidOperationException("it is not served now");

    public string Uri => Server.Uri;

    public byte[] OriginContent => File.ReadAllBytes(Origin);

    public void Start(params string[] more) => _server = LincowServer.Start(Scratch, [Overlay, .. _serve, .. more]);

    public void Stop()
    {
        Server.Stop();
        Forget();
    }

    public void Kill()
    {
        Server.Kill();
        Forget();
    }

    public void Dispose()
    {
        _server?.Dispose();
        Scratch.Dispose();
    }

    private void Forget()
    {
        Server.Dispose();
        _server = null;
    }
}
