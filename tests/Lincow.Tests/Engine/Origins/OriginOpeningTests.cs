using Lincow.Linux;
using Lincow.Operations;
using Lincow.Stores;

namespace Lincow.Tests.Engine.Origins;

/// <summary>What is taken for an origin, where it is looked for, and what is seen of it at the end.</summary>
public sealed class OriginOpeningTests : IDisposable
{
    private const int Bytes = 64 << 10;

    private readonly string _directory = Directory.CreateTempSubdirectory("lincow-g").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void An_image_or_a_part_of_one_is_refused_and_raw_means_its_bytes()
    {
        File.WriteAllBytes(At("a.qcow2"), [0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3, .. new byte[Bytes - 8]]);
        File.WriteAllBytes(At("b.000"), new byte[Bytes]);
        File.WriteAllBytes(At("b.001"), new byte[512]);
        foreach (var (name, code) in new[] { ("a.qcow2", LincowErrorCode.OriginNotRaw), ("b.000", LincowErrorCode.OriginIsPart) })
        {
            Assert.Equal(code, Assert.Throws<LincowException>(() => StoreOrigin.Open(At(name))).Error.Code);
            using var raw = StoreOrigin.Open("raw:" + At(name));
            Assert.Equal(("raw:" + At(name), At(name), true), (raw.Uri, raw.Reference.Place, raw.Reference.IsPresent));
        }
    }

    [Theory]
    [InlineData(false, null)]
    [InlineData(true, LincowErrorCode.OriginChangedMeanwhile)]
    public void An_origin_that_was_changed_under_an_open_overlay_is_said_when_that_is_closed(bool isChanged, LincowErrorCode? expected)
    {
        File.WriteAllBytes(At("origin"), new byte[Bytes]);
        OverlayCreator.Create(new CreateOptions { Overlay = At("o.cow"), Origin = At("origin") });
        using var loop = new PosixLoop();
        var session = OverlaySession.Open(new OverlayOptions { Overlay = At("o.cow") }, loop);
        if (isChanged)
            File.SetLastWriteTimeUtc(At("origin"), DateTime.UnixEpoch.AddDays(5));
        var (isClosed, failure) = (false, (LincowException?)null);
        session.CloseWhenPossible(error => (isClosed, failure) = (true, error));
        while (!isClosed)
            loop.RunOnce();
        Assert.Equal(expected, failure?.Error.Code);
        // The overlay itself is whole.
        Assert.True(OverlayDescription.Read(At("o.cow"), null, stop: TestContext.Current.CancellationToken).Clean);
    }

    [Fact]
    public void A_relative_origin_is_followed_over_no_link()
    {
        File.WriteAllBytes(At("origin"), new byte[Bytes]);
        var made = OverlayCreator.Create(new CreateOptions { Overlay = At("o.cow"), Origin = At("origin"), RelativeOrigin = true });
        Assert.Equal((At("origin"), "origin"), (made.Origin.Uri, made.Origin.Relative));
        Open(null);
        File.Move(At("origin"), At("secret"));
        File.CreateSymbolicLink(At("origin"), At("secret"));
        Assert.Equal(LincowErrorCode.OriginRelativeLink, Assert.Throws<LincowException>(() => Open(null)).Error.Code);
        // The user's word is no reference in an overlay.
        Open(At("origin"));

        void Open(string? origin)
        {
            using var loop = new PosixLoop();
            OverlaySession.Open(new OverlayOptions { Overlay = At("o.cow"), Origin = origin }, loop).Close();
        }
    }

    private string At(string name) => Path.Combine(_directory, name);
}
