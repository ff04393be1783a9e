using Lincow.Blobs;
using Lincow.Linux;

namespace Lincow.Tests.Simulation;

/// <summary>
/// An origin in a program's code, on a simulated disk, that does what such code may do: it answers at once or much later, in any order,
/// fails, throws what it should not, doesn't listen when it is cancelled, and is mistaken about its holes on the safe side only.
/// </summary>
internal sealed class SimulatedOrigin(SimulatedMachine machine, SimulatedDisk disk, SimulationCoverage coverage, string name, bool isQuick)
    : UserOrigin
{
    public override string Name => name;

    public override long SizeBytes => disk.Length;

    public override bool IsQuick => isQuick;

    /// <summary>From now on; what it throws while it is opened is the opener's.</summary>
    public bool MayFail { get; set; }

    /// <summary>Reads that have been asked for and are not answered.</summary>
    public int Unanswered { get; private set; }

    public override void Read(long byteOffset, Span<byte> target)
    {
        FailPerhaps();
        disk.Read(byteOffset, target);
    }

    public override ValueTask ReadAsync(long byteOffset, Memory<byte> target, CancellationToken cancellation)
    {
        // Samples, while it is opened.
        if (!cancellation.CanBeCanceled)
        {
            disk.Read(byteOffset, target.Span);
            return ValueTask.CompletedTask;
        }
        if (machine.Random.OneIn(4))
        {
            Read(byteOffset, target.Span);
            return ValueTask.CompletedTask;
        }
        Unanswered++;
        return new ValueTask(new Answer(this, byteOffset, target, cancellation).Start());
    }

    public override bool TryFindData(long byteOffset, long byteEnd, out long dataStart, out long dataEnd)
    {
        if (machine.Random.OneIn(50))
            throw new InvalidOperationException("a mistake in the program");
        return disk.TryFindData(byteOffset, byteEnd, out dataStart, out dataEnd);
    }

    private void FailPerhaps()
    {
        if (MayFail && (machine.IsOff || machine.Fault(SimulationSite.Read) < 0))
            throw machine.Random.OneIn(2) ? new IOException("the origin fails") : new InvalidOperationException("a mistake in the program");
    }

    /// <summary>A read that is answered in some later turn of the loop.</summary>
    private sealed class Answer(SimulatedOrigin origin, long byteOffset, Memory<byte> target, CancellationToken cancellation) : IoCompletion
    {
        // Its continuation runs right where it is answered.
        private readonly TaskCompletionSource _source = new();
        private readonly bool _listens = origin.Machine.Random.OneIn(2);
        private int _turns = origin.Machine.Random.OneIn(3) ? origin.Machine.Random.Next(1, 40) : 1;

        public Task Start()
        {
            origin.Machine.Loop!.CompleteSoon(this, 0);
            return _source.Task;
        }

        public override void Complete(int result)
        {
            if (cancellation.IsCancellationRequested && _listens)
            {
                origin.Unanswered--;
                _source.SetCanceled(cancellation);
                return;
            }
            if (--_turns > 0)
            {
                origin.Machine.Loop!.CompleteSoon(this, 0);
                return;
            }
            origin.Unanswered--;
            origin.Coverage.LateAnswers++;
            if (cancellation.IsCancellationRequested)
                origin.Coverage.AnswersAfterClose++;
            try
            {
                origin.Read(byteOffset, target.Span);
            }
            catch (Exception e)
            {
                _source.SetException(e);
                return;
            }
            _source.SetResult();
        }
    }

    private SimulatedMachine Machine => machine;

    private SimulationCoverage Coverage => coverage;
}
