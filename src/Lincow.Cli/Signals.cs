using System.Runtime.InteropServices;
using Lincow.Linux;

namespace Lincow.Cli;

/// <summary>
/// What signals do to a process that serves or moves data. By default most of them end it on the spot, as kill -9 does, with what isn't
/// flushed. So those that ask it to end do so in order, and those that mean nothing here do nothing.
/// </summary>
internal static class Signals
{
    /// <summary>
    /// Signals whose default is death and that nobody sends to end a process: SIGUSR1, SIGUSR2, SIGALRM, SIGSTKFLT, SIGXCPU, SIGVTALRM,
    /// SIGPROF, SIGIO, SIGPWR (signal(7), the numbers of x86 and arm), and those of real time. .NET ignores SIGPIPE, and takes the first
    /// of real time for itself.
    /// </summary>
    private static readonly int[] Meaningless = [10, 12, 14, 16, 24, 26, 27, 29, 30, .. Enumerable.Range(35, 30)];

    /// <summary>SIGXFSZ: a write would make a file longer than <c>ulimit -f</c> allows.</summary>
    private const int FileTooLong = 25;

    /// <summary>
    /// Such a write fails with EFBIG, and whoever made it says so, instead of the end of the process without a word. For every command,
    /// for all of its life.
    /// </summary>
    public static void HaveLongFilesFail() =>
        // mutation: long-file-kills
        LinuxProcess.Disregard(FileTooLong);

    /// <summary>
    /// From here to Dispose: SIGTERM, SIGINT (Ctrl-C) and SIGHUP (the terminal is gone) call back, on a thread of the runtime's.
    /// </summary>
    /// <param name="end">May be called more than once.</param>
    /// <param name="hangUpEnds">False for what lives in the background: SIGHUP means nothing to it.</param>
    public static IDisposable Take(Action end, bool hangUpEnds = true) => Take(end, end, hangUpEnds ? end : null);

    /// <param name="terminated">SIGTERM.</param>
    /// <param name="interrupted">SIGINT.</param>
    /// <param name="hungUp">SIGHUP; null: nothing happens.</param>
    public static IDisposable Take(Action terminated, Action interrupted, Action? hungUp)
    {
        var taken = new Registrations();
        taken.Add(PosixSignal.SIGTERM, terminated);
        taken.Add(PosixSignal.SIGINT, interrupted);
        // mutation: hang-up-kills
        taken.Add(PosixSignal.SIGHUP, hungUp);
        return taken;
    }

    /// <summary>
    /// For what runs in the foreground and can be ended half way: the first SIGTERM, SIGINT or SIGHUP ends it in good order, and what is
    /// meaningless does nothing. A second one ends the process at once, as it would without this.
    /// </summary>
    public static Interruption Interruptible() => new();

    /// <summary>Until Dispose.</summary>
    public sealed class Interruption : IDisposable
    {
        private readonly CancellationTokenSource _stop = new();
        private readonly Registrations _taken = new();

        public Interruption()
        {
            foreach (var signal in (PosixSignal[])[PosixSignal.SIGTERM, PosixSignal.SIGINT, PosixSignal.SIGHUP])
                _taken.AddFirst(signal, _stop);
        }

        public CancellationToken Token => _stop.Token;

        public void Dispose()
        {
            _taken.Dispose();
            _stop.Dispose();
        }
    }

    /// <summary>What is meaningless does nothing from here on; the others are added, until Dispose.</summary>
    private sealed class Registrations : IDisposable
    {
        private readonly List<PosixSignalRegistration> _all = [];

        public Registrations()
        {
            foreach (var number in Meaningless)
                LinuxProcess.Disregard(number);
        }

        public void Add(PosixSignal signal, Action? action) => _all.Add(PosixSignalRegistration.Create(signal, context =>
        {
            context.Cancel = true;
            action?.Invoke();
        }));

        public void AddFirst(PosixSignal signal, CancellationTokenSource stop) => _all.Add(PosixSignalRegistration.Create(signal, context =>
        {
            context.Cancel = !stop.IsCancellationRequested;
            stop.Cancel();
        }));

        public void Dispose() => _all.ForEach(registration => registration.Dispose());
    }
}
