using Lincow.Device;
using Lincow.Fuzz.Targets;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Requests;
using Lincow.Stores.Linear;
using Lincow.Tests.Engine.Device;

namespace Lincow.Tests.Engine.Stores.Linear;

/// <summary>
/// A bit flipped in each byte of an overlay's metadata, one at a time: both superblock slots, the space after them, both twins of the map
/// page; front and separate, closed cleanly and cut off in use. check finds every one, and what is served is right or an error.
/// </summary>
public sealed class BitFlipTests : IDisposable
{
    private const int MapOffset = (int)Superblock.MapOffsetBytes, MetadataBytes = MapOffset + MapFormat.PairBytes;

    /// <summary>Nobody reads the space that is kept for later versions but check, in one piece: some of its bytes stand for all.</summary>
    private const int KeptSpaceStep = 211;

    private readonly OverlayBases _bases = new();

    public void Dispose() => _bases.Dispose();

    [Theory]
    [InlineData("front")]
    [InlineData("cut")]
    [InlineData("separate")]
    [InlineData("apart")]
    public void Every_flipped_bit_is_found_and_nothing_wrong_is_served(string name)
    {
        var image = _bases[name];
        image.Lay();
        Assert.Empty(OverlayCheck.Run(image.Path, null, repair: false, stop: TestContext.Current.CancellationToken).Findings);
        var right = Assert.IsType<byte[]>(Serve(image.Path));
        var (served, refused) = (0, 0);
        using var file = File.OpenHandle(image.MapFile, FileMode.Open, FileAccess.ReadWrite);
        for (var position = 0; position < MetadataBytes; position += position is >= 2 * Superblock.SizeBytes and < MapOffset - KeptSpaceStep
            ? KeptSpaceStep : 1)
        {
            Flip(file, position);
            // Superblock slots and page slots are units; the finding names the pair's start for a page.
            var unit = position >= MapOffset ? MapOffset : position < 2 * Superblock.SizeBytes
                ? position / Superblock.SizeBytes * Superblock.SizeBytes : position;
            var findings = OverlayCheck.Run(image.Path, null, repair: false, stop: TestContext.Current.CancellationToken).Findings;
            Assert.True(findings.Any(finding => finding.File == image.MapFile && finding.Offset == unit),
                $"{name}: the flipped bit at byte {position} is not found");
            var content = Serve(image.Path);
            Assert.True(content is null || right.AsSpan().SequenceEqual(content),
                $"{name}: wrong data is served for a flipped bit at byte {position}");
            _ = content is null ? refused++ : served++;
            Flip(file, position);
        }
        // Both ways happen only where twins may differ; after a clean close the twin always stands in.
        Assert.True(served > 0 && refused > 0 == name is "cut" or "apart", $"{name}: {served} served, {refused} refused");
        Assert.Empty(OverlayCheck.Run(image.Path, null, repair: false, stop: TestContext.Current.CancellationToken).Findings);
    }

    [Theory]
    [InlineData("front")]
    [InlineData("cut")]
    [InlineData("separate")]
    [InlineData("apart")]
    public void Writing_to_an_overlay_with_a_flipped_bit_never_makes_data_wrong(string name)
    {
        var image = _bases[name];
        image.Lay();
        var right = Assert.IsType<byte[]>(Serve(image.Path));
        for (var position = 0; position < MetadataBytes; position += position is >= 2 * Superblock.SizeBytes and < MapOffset - 1009
            ? 1009 : 53)
        {
            image.Lay();
            using (var file = File.OpenHandle(image.MapFile, FileMode.Open, FileAccess.ReadWrite))
                Flip(file, position);
            var expected = right.ToArray();
            if (Serve(image.Path, expected) is { } content)
                Assert.True(expected.AsSpan().SequenceEqual(content),
                    $"{name}: wrong data after a write, with a flipped bit at byte {position}");
            if (Serve(image.Path) is { } again)
                Assert.True(expected.AsSpan().SequenceEqual(again),
                    $"{name}: wrong data after the close, with a flipped bit at byte {position}");
        }
    }

    private static void Flip(Microsoft.Win32.SafeHandles.SafeFileHandle file, int position)
    {
        Span<byte> value = stackalloc byte[1];
        RandomAccess.Read(file, value, position);
        value[0] ^= (byte)(1 << (position % 8));
        RandomAccess.Write(file, value, position);
    }

    /// <summary>
    /// The device's content, or null when it is refused. With a model: writes to it first, and to the model what has succeeded.
    /// </summary>
    private static byte[]? Serve(string path, byte[]? model = null)
    {
        using var loop = new PosixLoop();
        OverlaySession session;
        try
        {
            session = OverlaySession.Open(new OverlayOptions { Overlay = path, ReadOnly = model is null }, loop);
        }
        catch (LincowException)
        {
            return null;
        }
        if (model is not null)
        {
            using var write = new TestRequest { Operation = BlockOperation.Write, ByteOffset = 20_000, ByteLength = 3000 };
            write.Content.Fill(0x77);
            if (Run(session.Device, loop, write) == 0)
                model.AsSpan(20_000, 3000).Fill(0x77);
        }
        using var read = new TestRequest { Operation = BlockOperation.Read, ByteLength = session.Device.SizeBytes };
        var result = Run(session.Device, loop, read);
        session.Close();
        return result == 0 ? read.Content.ToArray() : null;
    }

    private static int Run(CowDevice device, PosixLoop loop, TestRequest request)
    {
        request.SubmitTo(device);
        while (request.Result is null)
            loop.RunOnce();
        return request.Result.Value;
    }
}
