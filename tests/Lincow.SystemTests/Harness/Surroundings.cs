using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;

namespace Lincow.SystemTests.Harness;

/// <summary>
/// What a process under test finds in its environment: a run directory of its test's own, and a key for overlays of these tests' own. So a
/// test meets no server but those that it started, whatever else runs: a stranger's server on this machine, another test beside it, another
/// run of the tests. All of it is gone with these tests.
/// </summary>
internal static class Surroundings
{
    /// <summary>Nothing can be there: a process that was started past <see cref="Start"/> says so at once.</summary>
    private const string Nowhere = "/dev/null/started-without-Surroundings";

    private static readonly ConcurrentDictionary<string, string> RunDirectories = new();

    private static string _root = "";

    /// <summary>
    /// Where servers of the test that is running now register. Threads and tasks that it starts have the same. What a class's tests have in
    /// common is made before them, and has a directory of the class's.
    /// </summary>
    public static string RunDirectory =>
        RunDirectories.GetOrAdd(TestContext.Current.Test?.UniqueID ?? TestContext.Current.TestClass?.UniqueID
                ?? throw new InvalidOperationException("no test is running"),
            _ => Path.Combine(_root, RunDirectories.Count.ToString(CultureInfo.InvariantCulture) + "-" + Guid.NewGuid()
                .ToString("N")[..4]));

    /// <summary>Starts a process for the running test. What the caller put into its environment counts.</summary>
    public static Process Start(ProcessStartInfo start)
    {
        if (start.Environment["LINCOW_RUN_DIR"] == Nowhere)
            start.Environment["LINCOW_RUN_DIR"] = RunDirectory;
        return Process.Start(start)!;
    }

    [ModuleInitializer]
    public static void Make()
    {
        _root = Directory.CreateTempSubdirectory("lincow-r").FullName;
        Environment.SetEnvironmentVariable("LINCOW_RUN_DIR", Nowhere);
        Environment.SetEnvironmentVariable("XDG_STATE_HOME", Path.Combine(_root, "state"));
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(_root, recursive: true);
    }
}
