using System.Runtime.CompilerServices;

namespace Lincow.Tests;

/// <summary>
/// What the library finds in these tests' environment: a key for overlays of their own, not the user's, and no run directory. Gone with
/// them.
/// </summary>
internal static class Surroundings
{
    [ModuleInitializer]
    public static void Make()
    {
        var root = Directory.CreateTempSubdirectory("lincow-u").FullName;
        Environment.SetEnvironmentVariable("XDG_STATE_HOME", Path.Combine(root, "state"));
        Environment.SetEnvironmentVariable("LINCOW_RUN_DIR", Path.Combine(root, "run"));
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(root, recursive: true);
    }
}
