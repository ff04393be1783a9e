using System.Runtime.InteropServices;
using Lincow.Device;
using Lincow.Requests;

namespace Lincow.Tests.Simulation;

/// <summary>A client's request: its memory, what the model has to know of it, and its end.</summary>
internal sealed unsafe class SimulationRequest(Action<SimulationRequest, int> ended) : BlockRequest, IDisposable
{
    private nuint _capacity;
    private bool _isSubmitting;

    public ModelWrite Write { get; set; } = null!;

    /// <summary>What it may do, or not.</summary>
    public ModelWrite PartialWrite { get; set; } = null!;

    public long Submitted { get; set; }

    public int? Result { get; set; }

    /// <summary>What it reads is held against the model.</summary>
    public bool IsCompared { get; set; }

    public Span<byte> Content => new((void*)Buffer, (int)ByteLength);

    /// <summary>Makes room, filled with what must not be seen.</summary>
    public void Prepare(SimulationStep step)
    {
        (Operation, Flags, ByteOffset, ByteLength, Result, IsCompared) =
            (step.Operation, step.Flags, step.ByteOffset, step.ByteLength, null, true);
        if (Operation is not (BlockOperation.Read or BlockOperation.Write))
            return;
        if ((nuint)ByteLength > _capacity)
        {
            NativeMemory.AlignedFree((void*)Buffer);
            _capacity = (nuint)ByteLength;
            Buffer = (nint)NativeMemory.AlignedAlloc(_capacity, 4096);
        }
        Content.Fill(0xee);
    }

    public void SubmitTo(BlockDevice device)
    {
        _isSubmitting = true;
        device.Submit(this);
        _isSubmitting = false;
    }

    public void Dispose() => NativeMemory.AlignedFree((void*)Buffer);

    protected internal override void OnCompleted(int result)
    {
        if (_isSubmitting)
            throw new InvalidOperationException("the request ended inside the call that submitted it");
        Result = result;
        ended(this, result);
    }
}
