using Lincow.Device;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Requests;
using static Lincow.Fuzz.BrokenPromiseException;

namespace Lincow.Fuzz.Targets;

/// <summary>Sound overlays to start from: front and separate, closed and cut off, one map page and two.</summary>
internal sealed class OverlayBases : IDisposable
{
    private readonly string _directory = FuzzPlace.NewPath();
    private readonly OverlayImage[] _images;

    public OverlayBases()
    {
        Directory.CreateDirectory(_directory);
        var origin = Path.Combine(_directory, "origin");
        var content = new byte[60_000];
        new Random(1).NextBytes(content);
        content.AsSpan(8192, 12_000).Clear();
        File.WriteAllBytes(origin, content);
        _images =
        [
            Make("front", origin, 512, 64 << 10, isSeparate: false, isCut: false),
            Make("cut", origin, 512, 64 << 10, isSeparate: false, isCut: true),
            Make("separate", origin, 4096, 64 << 10, isSeparate: true, isCut: false),
            Make("apart", origin, 512, 64 << 10, isSeparate: true, isCut: true),
            Make("large", origin, 512, 9 << 20, isSeparate: false, isCut: false),
            Make("nothing", "zero:9M", 512, 9 << 20, isSeparate: false, isCut: true),
        ];
    }

    public OverlayImage Choose(byte number) => _images[number % _images.Length];

    /// <summary>Small ones by their names: front, cut, separate, apart.</summary>
    public OverlayImage this[string name] => _images.Single(image => Path.GetFileName(image.Path) == name);

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private OverlayImage Make(string name, string origin, int chunkBytes, long deviceBytes, bool isSeparate, bool isCut)
    {
        var (path, map) = (Path.Combine(_directory, name), isSeparate ? Path.Combine(_directory, name + ".map") : null);
        OverlayCreator.Create(new CreateOptions
        {
            Overlay = path,
            Origin = origin,
            Map = map,
            ChunkBytes = chunkBytes,
            SizeBytes = deviceBytes
        });
        using var loop = new PosixLoop();
        var session = OverlaySession.Open(new OverlayOptions { Overlay = path }, loop);
        var random = new Random(2);
        for (var i = 0; i < 12; i++)
        {
            var request = new Change
            {
                Operation = i % 4 == 3 ? BlockOperation.Discard : BlockOperation.Write,
                ByteOffset = i * deviceBytes / 12 / 512 * 512,
                ByteLength = 512 * random.Next(1, 5),
            };
            request.Run(session.Device, loop, random);
            if (i % 4 == 1)
                new Change { Operation = BlockOperation.Flush }.Run(session.Device, loop, random);
        }
        var cut = isCut ? new OverlayImage(path, map, origin) : null;
        session.Close();
        return cut ?? new OverlayImage(path, map, origin);
    }

    private sealed class Change : BlockRequest
    {
        private bool _isDone;

        public unsafe void Run(CowDevice device, PosixLoop loop, Random random)
        {
            var buffer = loop.Buffers.Rent(Math.Max(ByteLength, 1));
            random.NextBytes(new Span<byte>((void*)buffer.Address, (int)ByteLength));
            Buffer = buffer.Address;
            device.Submit(this);
            while (!_isDone)
                loop.RunOnce();
            loop.Buffers.Return(buffer);
        }

        protected internal override void OnCompleted(int result)
        {
            Require(result == 0, "a change of a sound overlay succeeds");
            _isDone = true;
        }
    }
}
