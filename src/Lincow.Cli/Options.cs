using System.CommandLine;
using System.CommandLine.Parsing;
using Lincow.Cli.Output;
using Lincow.Operations;
using Lincow.Serving.Attach;

namespace Lincow.Cli;

/// <summary>Options that several commands share, made anew for each.</summary>
internal static class Options
{
    public static Argument<string> Overlay() =>
        new("OVERLAY") { Description = "Path of the overlay: a file or block device that 'lincow create' made" };

    /// <summary>One or more.</summary>
    public static Argument<string[]> Overlays() => new("OVERLAY")
    {
        Description = "Paths of overlays: files or block devices that 'lincow create' made",
        Arity = ArgumentArity.OneOrMore
    };

    public static Option<string?> Origin(string description = "The origin's new place, if it was moved: a path, raw:PATH, or zero:SIZE") =>
        new("--origin") { Description = description, HelpName = "ORIGIN" };

    public static Option<string?> Map() =>
        new("--map") { Description = "Path of the separate map, if it isn't found by itself", HelpName = "PATH" };

    public static Option<string?> Table() => new("--table")
    {
        Description = "A device-mapper table instead of options: '0 SECTORS cow ORIGIN OVERLAY P|N CHUNK_SECTORS [MAP]' or '0 SECTORS "
            + "snapshot ORIGIN COW P|PO|N CHUNK_SECTORS'",
        HelpName = "TABLE",
    };

    /// <summary>For commands that only look: a store of the kernel's doesn't say what its origin is.</summary>
    public static Option<string?> StoreOrigin() => Origin("The origin of a dm-snapshot store that lincow has no note of");

    public static Option<string?> Store(string description) =>
        OneOf("--store", StoreTraits.All.Select(store => store.Name), description);

    /// <summary>An option that takes one of a few words; its name in the help is their list.</summary>
    public static Option<string?> OneOf(string name, IEnumerable<string> words, string description, string? otherwise = null)
    {
        var option = new Option<string?>(name) { Description = description, HelpName = string.Join('|', words) };
        if (otherwise is not null)
            option.DefaultValueFactory = _ => otherwise;
        option.CustomParser = result => OneOf(result, name, option.HelpName.Split('|'));
        return option;
    }

    /// <summary>An argument that takes one of the words that it is called by.</summary>
    public static Argument<string> OneOf(Argument<string> argument)
    {
        argument.CustomParser = result => OneOf(result, "", argument.Name.Split('|'));
        return argument;
    }

    private static string OneOf(ArgumentResult result, string name, string[] words)
    {
        var given = result.Tokens.Single().Value;
        if (!words.Contains(given))
            result.AddError($"{name}{(name.Length > 0 ? " " : "")}'{given}' is unknown; use {string.Join(", ", words[..^1])} "
                + $"or {words[^1]}");
        return given;
    }

    public static Option<bool> Json() => new("--json") { Description = "One JSON document on standard output" };

    public static Option<bool> Quiet() => new("--quiet") { Description = "Say nothing but errors" };

    public static Option<bool> AcceptOrigin() =>
        new("--accept-origin") { Description = "Go on with an origin that isn't as the overlay remembers it" };

    public static Option<bool> IgnoreHoles() => new("--ignore-holes")
    {
        Description = "Read the origin's holes as well: for a file system that calls data a hole",
    };

    public static Option<bool> AcceptInUse() => new("--accept-in-use")
    {
        Description = "Go on with an origin that is mounted for writing, although it changes under the overlay",
    };

    public static Option<bool> AcceptMap() => new("--accept-map") { Description = "Use a map that names another data file" };

    // What is none of them is refused by the library, which knows the ways.
    public static Option<string> Via() => new("--via")
    {
        Description = $"How; {AttachWays.Automatic} is the best that works here",
        DefaultValueFactory = _ => AttachWays.Automatic,
        HelpName = string.Join('|', AttachWays.All.Select(way => way.Name).Prepend(AttachWays.Automatic)),
    };

    /// <summary>A size in bytes, or with K M G T P.</summary>
    public static Option<long?> Size(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "SIZE",
        CustomParser = result => ParseSize(result, name),
    };

    public static Option<long?> SectorSize(string otherwise) => Size("--sector-size",
        $"The device's logical sectors, in which partition tables count: 512, 1024, 2048 or 4096 [default: {otherwise}]");

    private static long? ParseSize(ArgumentResult result, string name)
    {
        try
        {
            return SizeText.Parse(result.Tokens.Single().Value, name);
        }
        catch (LincowException e)
        {
            result.AddError(ErrorText.Of(e));
            return null;
        }
    }
}
