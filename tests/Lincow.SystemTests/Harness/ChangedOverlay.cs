namespace Lincow.SystemTests.Harness;

/// <summary>An overlay with changes of all kinds over a random origin, from a seed, and what its device reads.</summary>
internal sealed class ChangedOverlay
{
    public ChangedOverlay(Scratch scratch, int bytes, string chunk, int seed)
    {
        Origin = scratch.Random("origin.img", bytes, seed);
        Path = scratch["work.cow"];
        Cli.Ok("create", Path, "--origin", Origin, "--chunk", chunk);
        using var server = LincowServer.Start(scratch, Path);
        Nbd.Script("""
            import random
            h = connect(sys.argv[1])
            r = random.Random(int(sys.argv[2]))
            size = h.get_size()
            for i in range(200):
                length = r.choice([1, 512, 4096, 5000, 65536, r.randrange(1, 200000)])
                offset = r.choice([0, size - length, r.randrange(size - length), r.randrange(size - length) // 65536 * 65536])
                kind = r.randrange(5)
                if kind < 3: h.pwrite(r.randbytes(length), offset)
                elif kind == 3: h.zero(length, offset)
                else: h.trim(length, offset)
            h.shutdown()
            """, server.Uri, $"{seed}");
        Content = Nbd.ReadAll(scratch, server.Uri);
        server.Stop();
    }

    public string Origin { get; }

    public string Path { get; }

    public byte[] Content { get; }

    /// <summary>What the device of another overlay reads.</summary>
    public static byte[] Read(Scratch scratch, string overlay)
    {
        using var server = LincowServer.Start(scratch, overlay, "--read-only");
        var content = Nbd.ReadAll(scratch, server.Uri);
        server.Stop();
        return content;
    }
}
