namespace Lincow.Cli;
internal static class Demo { public static int Run() => 0; }
