using Lincow.Blobs;
using Lincow.Requests;

namespace Lincow.Layers;

/// <summary>A run of the device's bytes that lie together, as <see cref="LayerStack.Resolve"/> finds them.</summary>
/// <param name="Source">Which layer it comes from, or that it reads as zeroes.</param>
/// <param name="Blob">What holds it; null for zeroes.</param>
/// <param name="BlobOffset">Where it begins there, in bytes.</param>
/// <param name="ByteLength">Its length. 0: not known yet, and the request is resumed; or lost, and the request has its error.</param>
internal readonly record struct Run(RunSource Source, IReadableBlob? Blob, long BlobOffset, long ByteLength);
