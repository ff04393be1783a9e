namespace Lincow.Layers;

/// <summary>The state of a chunk, as two bits of the chunk map (docs/format.md, "Chunk states").</summary>
internal enum ChunkState
{
    /// <summary>Untouched: the origin's content, zeroes beyond its end.</summary>
    Origin = 0,

    /// <summary>The overlay holds it.</summary>
    Data = 1,

    /// <summary>Zeroes: trimmed or zeroed. The overlay's bytes there mean nothing, and the origin never shows again.</summary>
    Zero = 2,
}
