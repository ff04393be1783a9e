using System.Diagnostics;
using Lincow.Linux;
using Lincow.Serving.Frontends.Nbd;

namespace Lincow.Serving.Qcow2;

/// <summary>Runs qemu-img.</summary>
internal static class QemuPrograms
{
    public static string Find(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Where(directory => directory.Length > 0)
            .Select(directory => Path.Combine(directory, program)).FirstOrDefault(File.Exists)
        ?? throw new LincowException(Qcow2Errors.ProgramMissing(program));

    /// <summary>Runs qemu-img to its end; a failure is a sentence of its own. Lines of its output come one by one.</summary>
    public static IEnumerable<string> Image(string path, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(Find("qemu-img"), arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        })!;
        process.StandardInput.Close();
        var errors = process.StandardError.ReadToEndAsync();
        try
        {
            while (process.StandardOutput.ReadLine() is { } line)
                yield return line;
            process.WaitForExit();
        }
        finally
        {
            if (!process.HasExited)
                process.Kill();
        }
        if (process.ExitCode != 0)
            throw new LincowException(Qcow2Errors.ImageFailed(path, arguments[0], OneLine(errors.Result)));
    }

    public static string OneLine(string text) =>
        string.Join("; ", text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));

    /// <summary>A JSON string of any path.</summary>
    public static string Quote(string text) => "\"" + System.Text.Encodings.Web.JavaScriptEncoder.Default.Encode(text) + "\"";

    /// <summary>An image that qemu opens with nothing below it but what is said here, whatever its header names.</summary>
    public static string Open(string path, string? origin)
    {
        var backing = origin is null ? "null" : $$"""{"driver":"raw","file":{{Node(origin)}}}""";
        return $$"""json:{"driver":"qcow2","file":{{Node(path)}},"backing":{{backing}}}""";
    }

    private static string Node(string path)
    {
        using var file = LinuxFile.Open(path, writable: false);
        return $$"""{"driver":"{{(file.Facts.Kind == FileKind.BlockDevice ? "host_device" : "file")}}","filename":{{Quote(path)}}}""";
    }
}

/// <summary>
/// qemu-nbd and a connection to it. It ends with this object, and also when this process is killed: a shell waits for the end of its
/// standard input, which is ours to hold, and then ends it.
/// </summary>
internal sealed class QemuServer : IDisposable
{
    // Not SIGTERM: one that comes before qemu-nbd is ready is forgotten. What it has flushed is safe either way.
    private const string Guard = "\"$@\" < /dev/null & exec > /dev/null 2>&1; cat; kill -KILL $!; wait $!";
    private const int ReadyMilliseconds = 60_000, EndMilliseconds = 60_000;

    private const string SocketName = "s";

    private readonly Process _process;
    private readonly Task<string> _errors;
    private readonly string _directory, _path;

    public QemuServer(string path, params string[] arguments)
    {
        _path = path;
        _directory = SocketDirectory.Make("lincow-q", SocketName);
        var socket = Path.Combine(_directory, SocketName);
        var start = new ProcessStartInfo("/bin/sh",
            ["-c", Guard, "sh", QemuPrograms.Find("qemu-nbd"), "-k", socket, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardError = true
        };
        _process = Process.Start(start)!;
        _errors = _process.StandardError.ReadToEndAsync();
        try
        {
            Client = Connect(socket);
        }
        catch
        {
            End();
            throw;
        }
    }

    public NbdClient Client { get; }

    public void Dispose()
    {
        Client.Dispose();
        End();
    }

    private NbdClient Connect(string socket)
    {
        var deadline = Environment.TickCount64 + ReadyMilliseconds;
        while (true)
        {
            if (File.Exists(socket) && NbdClient.TryConnect(socket, $"{_path}: qemu-nbd") is { } client)
                return client;
            // Nobody else holds its standard error open.
            if (_errors.IsCompleted)
                throw new LincowException(Qcow2Errors.ServerCannotOpen(_path, QemuPrograms.OneLine(_errors.Result)));
            if (Environment.TickCount64 > deadline)
                throw new LincowException(Qcow2Errors.ServerSilent(_path));
            Thread.Sleep(2);
        }
    }

    // It ends by itself when its client has gone; what it has to write out may take a while.
    private void End()
    {
        _errors.Wait(Client is null ? 0 : EndMilliseconds);
        _process.StandardInput.Close();
        _process.WaitForExit();
        _process.Dispose();
        Directory.Delete(_directory, recursive: true);
    }
}
