using System.Text.Json;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary><c>lincow map</c> beside <c>qemu-img map</c>.</summary>
public class MapTests
{
    [Fact]
    public void Its_JSON_has_the_fields_and_the_values_that_qemu_img_map_has()
    {
        using var scratch = new Scratch();
        // The same writes to a qcow2 overlay: 64 KiB chunks are its clusters.
        var origin = scratch.Sparse("origin.img", 4 << 20);
        Scratch.WriteAt(origin, 1 << 20, Scratch.RandomBytes(2 << 20, 1));
        string[] writes = ["write -P 1 0 64k", "write -P 2 1M 128k", "write -z -u 2M 64k", "write -P 3 4032k 64k"];
        Tool.Ok("qemu-img", "create", "-q", "-f", "qcow2", "-b", origin, "-F", "raw", scratch["o.qcow2"]);
        Tool.Ok("qemu-io", ["-f", "qcow2", .. writes.SelectMany(write => new[] { "-c", write }), scratch["o.qcow2"]]);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin, "--chunk", "64K");
        using (var server = LincowServer.Start(scratch, scratch["o.cow"]))
        {
            Nbd.QemuIo(server.Uri, writes);
            server.Stop();
        }
        using var theirs = JsonDocument.Parse(Tool.Ok("qemu-img", "map", "--output=json", scratch["o.qcow2"]));
        using var ours = JsonDocument.Parse(Cli.Ok("map", scratch["o.cow"], "--json"));
        foreach (var range in ours.RootElement.EnumerateArray())
        {
            var fields = range.EnumerateObject().Select(field => field.Name).ToList();
            Assert.Equal(["start", "length", "depth", "present", "zero", "data"], fields[..6]);
            Assert.Contains(fields.Count, new[] { 6, 8 });
        }
        Assert.Equal(Merge(theirs), Merge(ours));
    }

    [Fact]
    public void It_covers_the_device_from_end_to_end_and_its_text_lists_what_is_stored()
    {
        using var served = new ServedOverlay();
        Nbd.QemuIo(served.Uri, "write -P 1 8k 4k", "discard 1M 1M", "write -P 1 4194303 1");
        served.Stop();
        var ranges = Cli.Map(served.Overlay);
        long end = 0;
        foreach (var range in ranges)
        {
            Assert.Equal(end, range.Start);
            Assert.True(range.Length > 0);
            Assert.Equal(range.Data, range.Offset is not null && range.Filename is not null);
            end += range.Length;
        }
        Assert.Equal(ServedOverlay.DefaultBytes, end);
        var lines = Cli.Ok("map", served.Overlay).Trim().Split('\n');
        Assert.Equal(["Offset", "Length", "Mapped", "to", "File"], lines[0].Split(' ', StringSplitOptions.RemoveEmptyEntries));
        Assert.Equal(ranges.Count(range => range.Data), lines.Length - 1);
        Assert.Equal(["0x2000", "0x1000", "0x102000", served.Overlay], lines[2].Split(' ', StringSplitOptions.RemoveEmptyEntries));
    }

    /// <summary>
    /// Start, length, depth, zero and data; neighbours that say the same made one, because clusters in a qcow2 file lie anywhere.
    /// </summary>
    private static List<(long Start, long Length, int Depth, bool Zero, bool Data)> Merge(JsonDocument map)
    {
        List<(long Start, long Length, int Depth, bool Zero, bool Data)> merged = [];
        foreach (var range in map.RootElement.EnumerateArray())
        {
            var (start, length) = (range.GetProperty("start").GetInt64(), range.GetProperty("length").GetInt64());
            var next = (start, length, range.GetProperty("depth").GetInt32(), range.GetProperty("zero").GetBoolean(),
                range.GetProperty("data").GetBoolean());
            if (merged.Count > 0 && (merged[^1].Depth, merged[^1].Zero, merged[^1].Data) == (next.Item3, next.Item4, next.Item5))
                merged[^1] = merged[^1] with { Length = merged[^1].Length + length };
            else
                merged.Add(next);
        }
        return merged;
    }
}
