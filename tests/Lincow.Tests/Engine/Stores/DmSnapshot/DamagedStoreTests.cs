using System.Buffers.Binary;
using Lincow.Linux;
using Lincow.Operations;

namespace Lincow.Tests.Engine.Stores.DmSnapshot;

/// <summary>
/// Snapshot stores with damage of each kind: check names it, nobody writes to them or serves them as if they were whole, and a rescue shows
/// what is sound and an error for the rest.
/// </summary>
public class DamagedStoreTests
{
    private const int Chunk = 4096, DeviceChunks = 600, Entries = 300;

    public static TheoryData<string, string, int[], bool> Kinds => new()
    {
        // What is done, what check says, which of the first chunks are in doubt, and whether those that the list doesn't name are.
        { "twice", "entry 5 is a second one for chunk 3", [3, 5], true },
        { "device", "entry 5 is for chunk 600, beyond the device's end", [5], true },
        { "far", "entry 5 is for chunk 18446744073709551615, beyond the device's end", [5], true },
        { "shared", "entry 5 puts chunk 5 at chunk 5 of the store, where chunk 3 is", [3, 5], false },
        { "beyond", "entry 5 puts chunk 5 at chunk 100000 of the store, beyond its end", [5], false },
        { "nowhere", "entry 5 puts chunk 5 at chunk 18446744073709551615 of the store, beyond its end", [5], false },
        { "area", "entry 5 puts chunk 5 at chunk 258 of the store, where an area of the list lies", [5], false },
        { "first area", "entry 5 puts chunk 5 at chunk 1 of the store, where an area of the list lies", [5], false },
        { "cut list", "area 1 would begin at byte 1056768, beyond the store's end", [], true },
        { "cut area", "area 1 would begin at byte 1056768, beyond the store's end", [], true },
        { "cut data", "entry 298 puts chunk 298 at chunk 301 of the store, beyond its end", [298, 299], false },
    };

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Damage_is_named_and_refused_and_what_is_sound_can_be_rescued(string kind, string problem, int[] doubtful,
        bool isListInDoubt)
    {
        using var store = new TestStore(DeviceChunks * Chunk, Chunk, storeBytes: 400 * Chunk);
        var model = store.OriginContent.ToArray();
        for (var i = 0; i < Entries; i++)
        {
            Assert.Equal(0, store.Write(i * Chunk, store.Chunk(i)));
            store.Chunk(i).CopyTo(model, i * Chunk);
        }
        Assert.Equal(0, store.Close());
        var listed = kind.StartsWith("cut ", StringComparison.Ordinal) && kind != "cut data" ? 256 : Entries;
        Damage(store, kind);
        var before = File.ReadAllBytes(store.Path);

        Assert.Contains(store.Findings(), finding => finding.Contains(problem, StringComparison.Ordinal));
        var stop = TestContext.Current.CancellationToken;
        Assert.NotEmpty(OverlayCheck.Run(store.Path, null, repair: true, origin: store.OriginPath, stop: stop).Findings);
        Assert.NotEqual(0, OverlayDescription.Read(store.Path, null, origin: store.OriginPath, stop: stop).DamagedPages);
        foreach (var readOnly in new[] { false, true })
        {
            store.Options = new OverlayOptions { ReadOnly = readOnly };
            var error = Assert.Throws<LincowException>(store.Open);
            Assert.Equal(LincowErrorKind.Damaged, error.Error.Kind);
            Assert.Equal(LincowErrorCode.ExceptionsDamaged, error.Error.Code);
        }
        store.Options = new OverlayOptions { ReadOnly = true, Rescue = true };
        for (var i = 0; i < DeviceChunks; i++)
        {
            if (doubtful.Contains(i) || (isListInDoubt && i >= listed))
                Assert.Equal(-Errno.IO, store.TryRead(i * Chunk + 512, 512));
            else
                Assert.Equal(model.AsSpan(i * Chunk, Chunk).ToArray(), store.Read(i * Chunk, Chunk));
        }
        Assert.Equal(-Errno.IO, store.TryRead(0, model.Length));
        Assert.Equal(-Errno.Perm, store.Write(0, [1]));
        Assert.Equal(0, store.Close());
        Assert.Equal(before, File.ReadAllBytes(store.Path));
        store.Options = new OverlayOptions();
        store.Reset();
        Assert.Equal(store.OriginContent, store.Read(0, model.Length));
    }

    [Theory]
    [InlineData(8, 2, "version")]
    [InlineData(12, 3, "chunk size")]
    [InlineData(12, 0, "chunk size")]
    public void A_header_that_makes_no_sense_is_named_and_nothing_is_served(int at, byte value, string problem)
    {
        using var store = new TestStore(DeviceChunks * Chunk, Chunk);
        Assert.Equal(0, store.Write(0, store.Chunk(1)));
        Assert.Equal(0, store.Close());
        store.Poke(at, [value]);
        var error = Assert.Throws<LincowException>(store.Findings);
        Assert.Equal(LincowErrorKind.Damaged, error.Error.Kind);
        Assert.Contains(problem, error.Message, StringComparison.Ordinal);
        foreach (var rescue in new[] { false, true })
        {
            store.Options = new OverlayOptions { ReadOnly = rescue, Rescue = rescue };
            Assert.Contains(problem, Assert.Throws<LincowException>(store.Open).Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    // With a smaller one the list begins in what is zero after the header, and is empty: for the kernel as for lincow.
    [InlineData(16)]
    [InlineData(64)]
    public void With_a_larger_chunk_size_in_its_header_a_store_is_refused(int sectors)
    {
        using var store = new TestStore(DeviceChunks * Chunk, Chunk);
        for (var i = 0; i < 40; i++)
            Assert.Equal(0, store.Write(i * Chunk, store.Chunk(i)));
        Assert.Equal(0, store.Close());
        var bytes = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, sectors);
        store.Poke(12, bytes);
        Assert.NotEmpty(store.Findings());
        Assert.Equal(LincowErrorKind.Damaged, Assert.Throws<LincowException>(store.Open).Error.Kind);
    }

    [Fact]
    public void A_store_that_is_too_short_for_its_chunk_size_is_not_made_longer_by_a_reset()
    {
        using var store = new TestStore(DeviceChunks * Chunk, Chunk);
        Assert.Equal(0, store.Write(0, store.Chunk(1)));
        Assert.Equal(0, store.Close());
        store.Enlarge(Chunk + 512);
        var before = File.ReadAllBytes(store.Path);
        Assert.Contains("don't hold", Assert.Throws<LincowException>(store.Reset).Message, StringComparison.Ordinal);
        Assert.Equal(before, File.ReadAllBytes(store.Path));
        store.Poke(0, new byte[4]);
        Assert.Contains("don't hold", Assert.Throws<LincowException>(store.Open).Message, StringComparison.Ordinal);
        Assert.Equal(Chunk + 512, new FileInfo(store.Path).Length);
    }

    [Fact]
    public void A_store_that_changes_below_a_server_fails_it_rather_than_showing_the_wrong_chunk()
    {
        using var store = new TestStore(DeviceChunks * Chunk, Chunk);
        for (var i = 0; i < Entries; i++)
            Assert.Equal(0, store.Write(i * Chunk, store.Chunk(i)));
        Assert.Equal(0, store.Close());
        store.Open();
        store.SetEntry(5, 6, 7);
        Assert.Equal(-Errno.IO, store.TryRead(5 * Chunk, Chunk));
        Assert.Contains("isn't what it was", Assert.Single(store.Reports), StringComparison.Ordinal);
        Assert.Equal(-Errno.IO, store.Write(0, [1]));
        Assert.Equal(-Errno.IO, store.Close());
    }

    private static void Damage(TestStore store, string kind)
    {
        switch (kind)
        {
            case "twice":
                store.SetEntry(5, 3, 7);
                break;
            case "device":
                store.SetEntry(5, DeviceChunks, 7);
                break;
            case "far":
                store.SetEntry(5, ulong.MaxValue, 7);
                break;
            case "shared":
                store.SetEntry(5, 5, 5);
                break;
            case "beyond":
                store.SetEntry(5, 5, 100_000);
                break;
            case "nowhere":
                store.SetEntry(5, 5, ulong.MaxValue);
                break;
            case "area":
                store.SetEntry(5, 5, 258);
                break;
            case "first area":
                store.SetEntry(5, 5, 1);
                break;
            case "cut list":
                store.Enlarge(258 * Chunk);
                break;
            case "cut area":
                store.Enlarge(258 * Chunk + 1000);
                break;
            case "cut data":
                store.Enlarge(301 * Chunk);
                break;
            default:
                throw new ArgumentException(kind);
        }
    }
}
