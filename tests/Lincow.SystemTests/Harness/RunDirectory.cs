using System.Runtime.CompilerServices;

namespace Lincow.SystemTests.Harness;

/// <summary>Servers under test, many of which are killed, register in a directory of these tests' own, gone with them.</summary>
internal static class RunDirectory
{
    [ModuleInitializer]
    public static void Make()
    {
        var directory = Directory.CreateTempSubdirectory("lincow-r").FullName;
        Environment.SetEnvironmentVariable("LINCOW_RUN_DIR", directory);
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(directory, recursive: true);
    }
}
