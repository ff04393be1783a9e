using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace Lincow.SystemTests.Harness;

/// <summary>An element of <c>status --json</c>.</summary>
internal sealed record StatusFacts(int Pid, string Command, bool Stale, string Name, string? Overlay, long Size, bool ReadOnly,
    List<string> Uris, string? Via, string? Device, string? File,
    string? Link, CounterFacts? Counters);

internal sealed record CounterFacts(long Requests, long Reads, long Writes, long Discards, long Flushes, long Rounds, long BytesRead,
    long BytesWritten, long BytesDiscarded, int InFlight, string? FailedBecause);

/// <summary>
/// What a test attaches, with a run directory of its own. Dispose takes away what the test left, whatever state that is in, and nothing
/// else.
/// </summary>
internal sealed class Attachments : IDisposable
{
    private readonly string _run;

    /// <param name="run">The run directory's name in the scratch directory.</param>
    public Attachments(string run = "run")
    {
        _run = run;
        Tool.RequireRoot();
        if (!System.IO.File.Exists("/dev/fuse"))
            Tool.Missing("there is no /dev/fuse");
        Environment = new() { ["LINCOW_RUN_DIR"] = Scratch[_run] };
    }

    public Scratch Scratch { get; } = new();

    /// <summary>What lincow finds in its environment.</summary>
    public Dictionary<string, string> Environment { get; }

    public ToolResult Run(params string[] arguments) => Tool.Run(Cli.Binary, arguments, Environment);

    public string Ok(params string[] arguments)
    {
        var result = Run(arguments);
        Assert.True(result.ExitCode == 0, result.ToString());
        Assert.DoesNotContain("lincow: error:", result.Errors);
        return result.Output;
    }

    public string Fails(params string[] arguments) => Cli.Error(Run(arguments), Cli.Failed);

    /// <summary>Attaches, and returns what is alone on the last line.</summary>
    public string Attach(params string[] arguments)
    {
        var lines = Ok(["attach", .. arguments]).TrimEnd('\n').Split('\n');
        Assert.StartsWith("/", lines[^1]);
        return lines[^1];
    }

    public List<StatusFacts> Status(params string[] arguments) =>
        JsonSerializer.Deserialize<List<StatusFacts>>(Ok(["status", "--json", .. arguments]), JsonSerializerOptions.Web)!;

    public string Mount(string device, string name = "mnt")
    {
        Directory.CreateDirectory(Scratch[name]);
        Tool.Ok("mount", device, Scratch[name]);
        return Scratch[name];
    }

    /// <summary>kill -9 of the one server; the kernel takes a moment to end its requests.</summary>
    public void Kill()
    {
        var server = Assert.Single(Status());
        Tool.Ok("kill", "-9", server.Pid.ToString(CultureInfo.InvariantCulture));
        var end = Stopwatch.StartNew();
        while (!Status()[0].Stale)
            Assert.True(end.Elapsed < Tool.Timeout, "the server outlived kill -9");
    }

    /// <summary>No loop device, mount, record, socket, process or link.</summary>
    public void AssertNothingLeft()
    {
        Assert.DoesNotContain(Scratch.Directory, System.IO.File.ReadAllText("/proc/self/mountinfo"));
        Assert.DoesNotContain(Scratch.Directory, Tool.Ok("losetup", "--list"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Scratch[_run]));
        Assert.Empty(Status());
        foreach (var process in Directory.EnumerateDirectories("/proc").Where(path => path.AsSpan(6).IndexOfAnyExceptInRange('0', '9') < 0))
        {
            try
            {
                Assert.False(System.IO.File.ReadAllText(process + "/cmdline").Contains(Scratch.Directory, StringComparison.Ordinal),
                    $"{process} still runs");
            }
            catch (IOException)
            {
                // It ended meanwhile.
            }
        }
        if (Directory.Exists("/dev/lincow"))
            Assert.DoesNotContain(Directory.EnumerateFiles("/dev/lincow"), link => !System.IO.File.Exists(link));
    }

    public void Dispose()
    {
        Unmount(mount => !mount.StartsWith(Scratch[_run], StringComparison.Ordinal));
        if (Directory.Exists(Scratch[_run]))
        {
            foreach (var record in Directory.EnumerateFiles(Scratch[_run], "*.json"))
            {
                if (Tool.Run(Cli.Binary,
                    ["detach",
                    JsonDocument.Parse(System.IO.File.ReadAllText(record)).RootElement.GetProperty("exports")[0].GetProperty("name")
                    .GetString()!], Environment).ExitCode != 0)
                    Tool.Run("kill", "-9", Path.GetFileName(record).Split('-')[0]);
            }
            Tool.Run(Cli.Binary, ["detach", "--stale", "--quiet"], Environment);
        }
        foreach (var line in Tool.Run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").Output.Split('\n')
            .Where(line => line.Contains(Scratch.Directory, StringComparison.Ordinal)))
            Tool.Run("losetup", "--detach", line.Split(' ')[0]);
        Unmount(_ => true);
        Scratch.Dispose();
    }

    private void Unmount(Func<string, bool> which)
    {
        foreach (var mount in System.IO.File.ReadLines("/proc/self/mountinfo").Select(line => line.Split(' ')[4])
            .Where(mount => mount.StartsWith(Scratch.Directory, StringComparison.Ordinal) && which(mount)).Reverse())
            Tool.Run("umount", "--lazy", mount);
    }
}
