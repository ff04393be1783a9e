using System.Text.RegularExpressions;

namespace Lincow.Tests.House;

/// <summary>Who may know whom inside the engine (docs/architecture.md, "Rooms").</summary>
public partial class RoomTests
{
    private static readonly string Engine = Path.Combine(HouseTests.Root, "src", "Lincow.Engine");

    /// <summary>Each room of the engine, and the rooms that its code may import.</summary>
    public static TheoryData<string, string> Arrows => new()
    {
        { "Blobs", "" },
        { "Requests", "Blobs" },
        { "Origins", "Blobs Requests" },
        { "Layers", "Blobs Requests Origins" },
        { "Stores", "Blobs Requests Origins Layers" },
        { "Device", "Blobs Requests Layers" },
        { "Operations", "Blobs Requests Origins Layers Stores Device" },
        { "Conversion", "Requests Origins Stores Operations" },
    };

    [Theory]
    [MemberData(nameof(Arrows))]
    public void Rooms_of_the_engine_know_only_those_below_them(string room, string below)
    {
        var allowed = below.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        foreach (var path in Code(Path.Combine(Engine, room)))
        {
            var imports = File.ReadLines(path).Select(line => EngineImport().Match(line)).Where(match => match.Success).Select(match => match.Groups[1].Value);
            Assert.All(imports, import => Assert.True(import is "Linux" || import == room || allowed.Contains(import), $"{path} imports {import}, and {room} may know: {below}"));
        }
    }

    [Fact]
    public void Every_room_of_the_engine_has_its_arrows() =>
        Assert.Equal(Directory.EnumerateDirectories(Engine).Select(path => Path.GetFileName(path)!).Where(name => name is not ("bin" or "obj")).Order(StringComparer.Ordinal),
            Arrows.Select(row => row.Data.Item1).Order(StringComparer.Ordinal));

    [Fact]
    public void No_code_names_a_type_of_a_store_but_its_own_folder_and_the_list()
    {
        var stores = Path.Combine(Engine, "Stores");
        foreach (var folder in Directory.EnumerateDirectories(stores))
        {
            // A type is named through its namespace: by an import, or in its full length.
            var name = Path.GetFileName(folder);
            var named = new Regex($@"\bStores\.{name}\b|(?<![\w.""'])({name})\.[A-Z]");
            foreach (var path in Code(Path.Combine(HouseTests.Root, "src")).Where(path => !path.StartsWith(folder + "/", StringComparison.Ordinal) && path != Path.Combine(stores, "StoreFormats.cs")))
                Assert.All(File.ReadLines(path).Where(line => !line.TrimStart().StartsWith("//", StringComparison.Ordinal)), line => Assert.False(named.IsMatch(line), $"{path}: {line.Trim()}"));
        }
    }

    private static IEnumerable<string> Code(string folder) => Directory.EnumerateFiles(folder, "*.cs", SearchOption.AllDirectories)
        .Where(path => !path.Contains("/obj/", StringComparison.Ordinal) && !path.Contains("/bin/", StringComparison.Ordinal));

    [GeneratedRegex(@"^using (?:static )?Lincow\.(Linux|Blobs|Requests|Origins|Layers|Stores|Device|Operations|Conversion)\b")]
    private static partial Regex EngineImport();
}
