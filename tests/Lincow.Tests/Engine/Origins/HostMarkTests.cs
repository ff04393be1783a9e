using Lincow.Linux;
using Lincow.Operations;
using Lincow.Origins;
using Lincow.Stores.Linear;

namespace Lincow.Tests.Engine.Origins;

public class HostMarkTests
{
    // The first, the ninth and the sixteenth of the authors' test vectors: key 00 to 0f, message 00, 01, ... (vectors.h of the reference
    // implementation; 15 bytes are in the paper's appendix).
    [Theory]
    [InlineData(0, 0x726fdb47dd0e0e31)]
    [InlineData(8, 0x93f5f5799a932462)]
    [InlineData(15, 0xa129ca6149be45e5)]
    public void SipHash_is_the_authors(int length, ulong expected)
    {
        var key = Enumerable.Range(0, 16).Select(value => (byte)value).ToArray();
        var message = Enumerable.Range(0, length).Select(value => (byte)value).ToArray();
        Assert.Equal(expected, HostMark.SipHash(key, message));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Without_the_mark_no_path_is_followed_until_the_user_names_it(bool isSeparate)
    {
        var directory = Directory.CreateTempSubdirectory("lincow-mark").FullName;
        try
        {
            var (overlay, origin, map) = (Path.Combine(directory, "o.cow"), Path.Combine(directory, "origin"),
                Path.Combine(directory, "o.cow.map"));
            File.WriteAllBytes(origin, new byte[4096]);
            OverlayCreator.Create(new CreateOptions { Overlay = overlay, Origin = origin, Map = isSeparate ? map : null });
            Serve(overlay, null);
            Assert.Equal(512, OverlayDescription.Read(overlay, null, stop: TestContext.Current.CancellationToken).SectorSize);
            SetMark(isSeparate ? map : overlay, 0x1234567890);
            Assert.Null(OverlayDescription.Read(overlay, null, stop: TestContext.Current.CancellationToken).SectorSize);
            Assert.Equal(LincowErrorCode.OriginForeign, Assert.Throws<LincowException>(() => Serve(overlay, null)).Error.Code);
            if (isSeparate)
                Assert.Equal(LincowErrorCode.DataForeign,
                    Assert.Throws<LincowException>(() => OverlayReset.Reset(map, null)).Error.Code);
            Serve(overlay, origin);
            Serve(overlay, null);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static void Serve(string overlay, string? origin)
    {
        using var loop = new PosixLoop();
        OverlaySession.Open(new OverlayOptions { Overlay = overlay, Origin = origin }, loop).Close();
    }

    private static void SetMark(string path, ulong mark)
    {
        using var file = LinuxFile.Open(path, writable: true);
        var both = new byte[2 * Superblock.SizeBytes];
        file.Read(both, 0);
        SuperblockFile.Create(file, SuperblockFile.Decode(both, path).Current! with { Mark = mark });
    }

    [Fact]
    public void A_mark_holds_for_its_overlay_and_its_paths_alone()
    {
        var overlay = Guid.NewGuid();
        var mark = HostMark.Of(overlay, "/a", "/b");
        Assert.Null(HostMark.WhyForeign(mark, overlay, "/a", "/b"));
        Assert.NotNull(HostMark.WhyForeign(mark, overlay, "/x", "/b"));
        Assert.NotNull(HostMark.WhyForeign(mark, overlay, "/a", "/x"));
        // Where one path ends and the other begins counts.
        Assert.NotNull(HostMark.WhyForeign(mark, overlay, "/a/", "b"));
        Assert.NotNull(HostMark.WhyForeign(mark, Guid.NewGuid(), "/a", "/b"));
        Assert.NotNull(HostMark.WhyForeign(0, overlay, "/a", "/b"));
    }
}
