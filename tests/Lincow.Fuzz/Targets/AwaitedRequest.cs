using Lincow.Device;
using Lincow.Linux;
using static Lincow.Fuzz.BrokenPromiseException;

namespace Lincow.Fuzz.Targets;

/// <summary>A request that has to end.</summary>
internal sealed class AwaitedRequest : BlockRequest
{
    private int? _result;

    public bool IsChange => Operation is BlockOperation.Write or BlockOperation.WriteZeroes or BlockOperation.Discard;

    public int Await(CowDevice device, PosixLoop loop)
    {
        device.Submit(this);
        for (var turns = 0; _result is null; turns++)
        {
            Require(turns < 100_000, "a request ends");
            loop.RunOnce();
        }
        return _result.Value;
    }

    protected internal override void OnCompleted(int result) => _result = result;

    /// <summary>The one way in which the control plane may fail.</summary>
    public static void Attempt(Action action)
    {
        try
        {
            action();
        }
        catch (LincowException)
        {
        }
    }
}
