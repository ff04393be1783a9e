namespace Lincow.Tests.Simulation;

/// <summary>Numbers from a seed, cheap to begin anew at every step (splitmix64).</summary>
internal struct SimulationRandom(ulong seed, ulong stream)
{
    private ulong _state = seed * 0xd1342543de82ef95 ^ (stream + 1) * 0x9e3779b97f4a7c15;

    public ulong NextWord()
    {
        var z = _state += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

    /// <summary>From 0 to less than <paramref name="end"/>.</summary>
    public int Next(int end) => (int)(NextWord() % (uint)end);

    public int Next(int start, int end) => start + Next(end - start);

    public bool OneIn(int count) => Next(count) == 0;
}
