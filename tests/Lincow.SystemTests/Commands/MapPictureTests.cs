using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary><c>lincow map --image</c>, read as the XML that it is.</summary>
public partial class MapPictureTests
{
    /// <summary>Of the plot, in a row and in a column.</summary>
    private const int Cells = 320;

    private static readonly XNamespace Svg = "http://www.w3.org/2000/svg";

    [Fact]
    public void Each_range_is_a_rectangle_where_it_lies_and_zeroes_are_marked_below()
    {
        using var scratch = new Scratch();
        // A cell is as long as a chunk: 320 of 4 KiB. With its map apart, the store is as long as the device.
        var overlay = scratch["<a>&'b\".cow"];
        Cli.Ok("create", overlay, "--origin", scratch.Sparse("origin.img", 320 * 4096), "--map", scratch["map"]);
        using (var server = LincowServer.Start(scratch, overlay))
        {
            // The last chunk is written, so that the store has its full length.
            Nbd.QemuIo(server.Uri, "write -P 1 40k 12k", "write -P 1 1276k 4k", "write -z -u 400k 80k");
            server.Stop();
        }
        var picture = scratch["map.svg"];
        Assert.Empty(Cli.Ok("map", overlay, "--image", picture));
        var root = XDocument.Load(picture).Root!;
        Assert.Equal([(10, 309, 1), (11, 308, 1), (12, 307, 1), (319, 0, 1)], Rectangles(root, "data").OrderBy(rectangle => rectangle.X));
        Assert.Equal([(100, 0, 20)], Rectangles(root, "zero"));
        // Who can't see it is told, by what the picture names.
        Assert.Equal("img", root.Attribute("role")?.Value);
        Assert.Equal(["title", "desc"], root.Attribute("aria-labelledby")!.Value.Split(' '));
        var title = root.Elements(Svg + "title").Single(element => element.Attribute("id")?.Value == "title").Value;
        Assert.Equal("<a>&'b\".cow: 16 KiB in 2 ranges", title);
        Assert.Contains("A device of 1.25 MiB",
            root.Elements(Svg + "desc").Single(element => element.Attribute("id")?.Value == "desc").Value);
        var texts = root.Descendants(Svg + "text").Select(text => text.Value).ToList();
        Assert.Contains(title, texts);
        string[] ticks = ["0 bytes", "256 KiB", "512 KiB", "768 KiB", "1 MiB", "1.25 MiB"];
        Assert.All(ticks, tick => Assert.Equal(2, texts.Count(text => text == tick)));
        Assert.Contains("offset in the device, 1.25 MiB", texts);
        Assert.Contains("offset in the store, 1.25 MiB", texts);
        Assert.Contains("in the overlay: 16 KiB", texts);
        Assert.Contains("reads as zeroes: 80 KiB", texts);
        // Colours for either page, the viewer's own fonts, and nothing from elsewhere.
        var style = root.Elements(Svg + "style").Single().Value;
        Assert.Contains("prefers-color-scheme: dark", style);
        Assert.Contains("system-ui", style);
        Assert.DoesNotContain("href", File.ReadAllText(picture), StringComparison.Ordinal);
        Assert.DoesNotContain("url(", File.ReadAllText(picture), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    public void It_shows_a_diagonal_for_linear_and_a_cloud_for_the_order_of_arrival(string store)
    {
        using var served = new ServedOverlay(create: ["--store", store]);
        Nbd.Script("""
            import random
            h = connect(sys.argv[1])
            r = random.Random(1)
            for i in range(300): h.pwrite(bytes([i % 255 + 1]) * 4096, r.randrange(1024) * 4096)
            h.shutdown()
            """, served.Uri);
        served.Stop();
        var cells = Rectangles(Draw(served.Scratch, served.Overlay), "data")
            .SelectMany(rectangle => Enumerable.Range(rectangle.X, rectangle.Width).Select(x => (X: x, rectangle.Y))).ToList();
        // The shift is a fifth of this store: the diagonal begins there.
        var near = cells.Count(cell => Math.Abs(Cells - cell.Y - (Cells / 5.0 + cell.X * 0.8)) < 4);
        Assert.True(cells.Count > 170, $"{cells.Count} cells");
        Assert.True(store == "linear" ? near == cells.Count : near < cells.Count / 4, $"{near} of {cells.Count} cells lie on the diagonal");
    }

    [Fact]
    public void The_picture_of_the_largest_device_is_small()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:8T");
        using (var server = LincowServer.Start(scratch, scratch["o.cow"]))
        {
            Nbd.QemuIo(server.Uri, "write -P 1 0 4k", "write -P 1 8191G 4k", "discard 4T 1G");
            server.Stop();
        }
        var root = Draw(scratch, scratch["o.cow"]);
        Assert.Equal(2, Rectangles(root, "data").Count);
        Assert.Single(Rectangles(root, "zero"));
        Assert.Contains("4 TiB", root.Descendants(Svg + "text").Select(text => text.Value));
        Assert.InRange(new FileInfo(scratch["map.svg"]).Length, 1000, 10_000);
    }

    [Fact]
    public void The_picture_of_a_million_ranges_is_small_and_soon_there()
    {
        const int areas = 4096, entries = 256, chunk = 4096;
        using var scratch = new Scratch();
        var origin = scratch.Sparse("origin.img", 2L * areas * entries * chunk);
        // Every other chunk in an order of its own, so that none touches its neighbour: as the kernel writes it, but without the data.
        var old = Enumerable.Range(0, areas * entries).Select(i => 2L * i).ToArray();
        new Random(1).Shuffle(old);
        using (var file = File.Create(scratch["cow.img"]))
        {
            var bytes = new byte[chunk];
            BinaryPrimitives.WriteUInt32LittleEndian(bytes, 0x70416e53);
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(4), 1);
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(8), 1);
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(12), chunk / 512);
            file.Write(bytes);
            for (var area = 0; area < areas; area++)
            {
                var start = 1 + area * (entries + 1L);
                for (var entry = 0; entry < entries; entry++)
                {
                    BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(entry * 16), old[area * entries + entry]);
                    BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(entry * 16 + 8), start + 1 + entry);
                }
                file.Position = start * chunk;
                file.Write(bytes);
            }
            file.SetLength((2 + areas * (entries + 1L)) * chunk);
        }
        var clock = Stopwatch.StartNew();
        var root = Draw(scratch, scratch["cow.img"], "--origin", origin);
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(30));
        Assert.Contains("4 GiB in 1048576 ranges", root.Elements(Svg + "title").Single().Value);
        Assert.InRange(new FileInfo(scratch["map.svg"]).Length, 1000, 500_000);
    }

    [Fact]
    public void A_picture_of_another_kind_and_a_file_that_is_none_are_refused()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        Assert.Contains("SVG", Cli.Misused("map", scratch["o.cow"], "--image", scratch["x.png"]));
        Assert.False(File.Exists(scratch["x.png"]));
        File.WriteAllText(scratch["text.svg"], "my notes");
        Assert.Contains("no SVG", Cli.Fails("map", scratch["o.cow"], "--image", scratch["text.svg"]));
        Assert.Equal("my notes", File.ReadAllText(scratch["text.svg"]));
        File.WriteAllBytes(scratch["bare"], [0x89, .. "PNG\r\n"u8]);
        Assert.Contains("no SVG", Cli.Fails("map", scratch["o.cow"], "--image", scratch["bare"]));
        // An older picture and an empty file give way.
        Draw(scratch, scratch["o.cow"]);
        Draw(scratch, scratch["o.cow"]);
    }

    private static XElement Draw(Scratch scratch, string overlay, params string[] more)
    {
        Assert.Empty(Cli.Ok(["map", overlay, "--image", scratch["map.svg"], .. more]));
        return XDocument.Load(scratch["map.svg"]).Root!;
    }

    /// <summary>What a path marks, in cells from the top left, each rectangle one cell high.</summary>
    private static List<(int X, int Y, int Width)> Rectangles(XElement root, string kind)
    {
        var path = root.Elements(Svg + "path").Single(element => element.Attribute("class")?.Value == kind).Attribute("d")!.Value;
        var rectangles = Rectangle().Matches(path);
        Assert.Equal(path.Length, rectangles.Sum(match => match.Length));
        return [.. rectangles.Select(match => (Number(match, 1), Number(match, 2), Number(match, 3)))];
    }

    private static int Number(Match match, int group) => int.Parse(match.Groups[group].Value, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"M(\d+) (\d+)h(\d+)")]
    private static partial Regex Rectangle();
}
