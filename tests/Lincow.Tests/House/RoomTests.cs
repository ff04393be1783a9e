using System.Text.RegularExpressions;

namespace Lincow.Tests.House;

/// <summary>
/// Rooms know only what the arrows of docs/architecture.md lead to. The arrows are read from there, so what is drawn is what holds. Which
/// room a file knows is read from its using lines, and from names that begin with a room's.
/// </summary>
public partial class RoomTests
{
    /// <summary>
    /// What goes against the arrows today: a file, and the room that it should not know. Each one that is no longer needed has to go from
    /// this list.
    /// </summary>
    private static readonly string[] Exceptions =
    [
        // For good: the one list of stores.
        "Engine/Stores/StoreFormats.cs -> Stores/DmSnapshot",
        "Engine/Stores/StoreFormats.cs -> Stores/Linear",
    ];

    [Fact]
    public void Rooms_know_only_what_the_arrows_lead_to()
    {
        var against = Knowledge("Engine").Concat(Knowledge("Serving")).Where(known => !Reach(known.Project, known.From).Contains(known.To))
            .Select(known => $"{known.Project}/{known.File} -> {known.To}").Distinct().Order(StringComparer.Ordinal).ToList();
        Assert.True(against.Except(Exceptions).FirstOrDefault() is not { } wrong,
            $"{against.Except(Exceptions).FirstOrDefault()}: there is no such arrow in docs/architecture.md");
        Assert.True(Exceptions.Except(against).FirstOrDefault() is not { } done,
            $"{Exceptions.Except(against).FirstOrDefault()}: no longer needed, take it off the list");
    }

    [Theory]
    [InlineData("Engine")]
    [InlineData("Serving")]
    public void Arrows_are_drawn_for_every_room_and_make_no_circle(string project)
    {
        var rooms = Rooms(project);
        Assert.All(rooms, room =>
            Assert.True(Arrows(project).ContainsKey(room),
            $"docs/architecture.md draws no arrow from {project}'s {room} (-> nothing, if it knows none)"));
        Assert.All(rooms, room =>
            Assert.DoesNotContain(room, Arrows(project).GetValueOrDefault(room, []).SelectMany(next => Reach(project, next))));
    }

    /// <summary>Everything that a room may know: itself, and where its arrows lead, and on from there.</summary>
    private static HashSet<string> Reach(string project, string room)
    {
        var arrows = Arrows(project);
        var reach = new HashSet<string> { room };
        var next = new Queue<string>(reach);
        while (next.TryDequeue(out var at))
        {
            foreach (var below in arrows.GetValueOrDefault(at, []))
            {
                if (reach.Add(below))
                    next.Enqueue(below);
            }
        }
        return reach;
    }

    /// <summary>The lines "ROOM -> ROOM, ROOM" under the project's name in the chapter "Arrows".</summary>
    private static Dictionary<string, string[]> Arrows(string project)
    {
        var text = File.ReadAllText(Path.Combine(HouseTests.Root, "docs", "architecture.md"));
        var chapter = text[(text.IndexOf("\n## Arrows\n", StringComparison.Ordinal) + 1)..];
        chapter = chapter[..chapter.IndexOf("\n## ", 5, StringComparison.Ordinal)];
        var start = chapter.IndexOf($"\n    {project}\n", StringComparison.Ordinal);
        Assert.True(start >= 0, $"docs/architecture.md has a chapter 'Arrows' with {project} in it");
        return chapter[(start + project.Length + 6)..].Split('\n').Select(line => Arrow().Match(line)).TakeWhile(match => match.Success)
            .ToDictionary(match => match.Groups[1].Value, match =>
                match.Groups[2].Value.Split(", ").Where(room => room != "nothing").ToArray());
    }

    private sealed record Known(string Project, string File, string From, string To);

    private static IEnumerable<Known> Knowledge(string project)
    {
        var directory = Path.Combine(HouseTests.Root, "src", "Lincow." + project);
        var files = Files(directory).ToDictionary(path => Path.GetRelativePath(directory, path), File.ReadAllText);
        var rooms = Rooms(project);
        var prefix = project == "Engine" ? "Lincow." : $"Lincow.{project}.";
        foreach (var (file, text) in files)
        {
            if (RoomOf(file, rooms) is not { } from)
                continue;
            var code = string.Join('\n', text.Split('\n').Where(line => !line.TrimStart().StartsWith("//", StringComparison.Ordinal)));
            foreach (var to in rooms.Where(room => room != from))
            {
                var name = to.Replace('/', '.');
                if (Regex.IsMatch(code, $@"(?<![\w.]){Regex.Escape(prefix + name)}\b")
                    || Types(to).Any(type => Regex.IsMatch(code, $@"(?<![\w.]){Regex.Escape(name)}\.{type}\b")))
                    yield return new Known(project, file, from, to);
            }
        }

        IEnumerable<string> Types(string room) =>
            files.Where(file => RoomOf(file.Key, rooms) == room).SelectMany(file => TopLevelType().Matches(file.Value))
                .Select(match => match.Groups[1].Value);
    }

    /// <summary>Folders with files in them; "Stores/Linear" rather than "Stores". Blobs' folders are one room.</summary>
    private static string[] Rooms(string project)
    {
        var directory = Path.Combine(HouseTests.Root, "src", "Lincow." + project);
        return [.. Files(directory).Select(path => Path.GetDirectoryName(Path.GetRelativePath(directory, path))!)
            .Where(folder => folder.Length > 0)
            .Select(folder => folder.StartsWith("Blobs", StringComparison.Ordinal) ? "Blobs" : folder).Distinct()];
    }

    private static string? RoomOf(string file, string[] rooms) =>
        rooms.Where(room => file.StartsWith(room + "/", StringComparison.Ordinal)).MaxBy(room => room.Length);

    private static IEnumerable<string> Files(string directory) => Directory.EnumerateFiles(directory, "*.cs", SearchOption.AllDirectories)
        .Where(path => !path.Contains("/obj/", StringComparison.Ordinal) && !path.Contains("/bin/", StringComparison.Ordinal));

    [GeneratedRegex(@"^    ([\w/]+) -> (\w[\w/, ]*)$")]
    private static partial Regex Arrow();

    [GeneratedRegex(@"^(?:public|internal)[\w ]*? (?:class|record|struct|interface|enum) (\w+)", RegexOptions.Multiline)]
    private static partial Regex TopLevelType();
}
