using System.Text.Json;
using System.Text.Json.Serialization;
using Lincow.Cli.Commands;
using Lincow.Conversion;
using Lincow.Operations;

namespace Lincow.Cli;

/// <summary>JSON of every report; source-generated, so that it works without reflection.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(OverlayInfo))]
[JsonSerializable(typeof(CheckReport))]
[JsonSerializable(typeof(MapRange))]
[JsonSerializable(typeof(ResetReport))]
[JsonSerializable(typeof(CommitReport))]
[JsonSerializable(typeof(ConvertReport))]
[JsonSerializable(typeof(CollectionCounts))]
[JsonSerializable(typeof(List<StatusReport>))]
[JsonSerializable(typeof(List<StopReport>))]
[JsonSerializable(typeof(List<OverlayInfo>))]
[JsonSerializable(typeof(List<CheckReport>))]
[JsonSerializable(typeof(List<ResetReport>))]
[JsonSerializable(typeof(List<ListReport>))]
[JsonSerializable(typeof(List<DetachReport>))]
[JsonSerializable(typeof(AttachReport))]
internal sealed partial class Json : JsonSerializerContext
{
    public static void Write<T>(T report, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type) =>
        Console.Out.WriteLine(JsonSerializer.Serialize(report, type));
}

/// <summary>What <c>reset</c> did.</summary>
internal sealed record ResetReport(string Overlay, bool SpaceReturned);
