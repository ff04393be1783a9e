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

    public static Option<string?> Store(string description)
    {
        string[] names = [.. StoreTraits.All.Select(store => store.Name)];
        return new Option<string?>("--store")
        {
            Description = description,
            HelpName = string.Join('|', names),
            CustomParser = result =>
            {
                var name = result.Tokens.Single().Value;
                if (!names.Contains(name))
                    result.AddError($"--store '{name}' is unknown; use {string.Join(" or ", names)}");
                return name;
            },
        };
    }

    public static Option<bool> Json() => new("--json") { Description = "One JSON document on standard output" };

    public static Option<bool> Quiet() => new("--quiet") { Description = "Say nothing but errors" };

    public static Option<bool> AcceptOrigin() =>
        new("--accept-origin") { Description = "Go on with an origin that isn't as the overlay remembers it" };

    public static Option<bool> AcceptMap() => new("--accept-map") { Description = "Use a map that names another data file" };

    public static Option<string> Via() => new("--via")
    {
        Description = $"How: {AttachWays.Automatic} (the best that works here), "
            + $"{string.Join(", ", AttachWays.All.Select(way => way.Name))}",
        DefaultValueFactory = _ => AttachWays.Automatic,
        HelpName = "WAY",
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
