namespace Lincow.SystemTests.Harness;

/// <summary>Real NBD clients: libnbd through its Python binding, qemu-io, nbdcopy.</summary>
internal static class Nbd
{
    /// <summary>libnbd's binding belongs to Debian's own Python, not to another one that PATH may name first.</summary>
    private const string Python = "/usr/bin/python3";

    private static readonly Lazy<bool> HasLibnbd = new(() => Tool.Run(Python, "-c", "import nbd").ExitCode == 0);

    private const string Prelude = """
        import errno, nbd, os, sys, time

        def connect(uri, *contexts):
            h = nbd.NBD()
            for context in contexts:
                h.add_meta_context(context)
            # Judging requests is the server's job here, not the client's.
            h.set_strict_mode(0)
            h.connect_uri(uri)
            return h

        def expect(error, call, *arguments):
            try:
                call(*arguments)
            except nbd.Error as e:
                assert e.errnum == error, f'{errno.errorcode[error]} expected: {e}'
                return
            raise AssertionError(f'{errno.errorcode[error]} expected, and there was no error')

        def check(condition, what):
            if not condition:
                raise AssertionError(what)

        def extents(h, length, offset):
            found = {}
            def note(context, start, entries, error):
                at = start
                for i in range(0, len(entries), 2):
                    found.setdefault(context, []).append((at, entries[i], entries[i + 1]))
                    at += entries[i]
                return 0
            h.block_status(length, offset, note)
            return found

        def drain(h, cookies):
            while h.aio_in_flight() > 0:
                h.poll(-1)
            for cookie in cookies:
                check(h.aio_command_completed(cookie), 'a command did not complete')
            cookies.clear()

        """;

    /// <summary>Runs a libnbd script; asserts that it ends well, and returns what it printed. sys.argv[1:] are the arguments.</summary>
    public static string Script(string script, params string[] arguments)
    {
        RequireLibnbd();
        var result = Tool.Run(Python, ["-c", Prelude + script, .. arguments]);
        Assert.True(result.ExitCode == 0, $"{script}\narguments: {string.Join(' ', arguments)}\n{(result with { Command = "" })}");
        return result.Output;
    }

    /// <summary>
    /// Starts a libnbd script that goes on beside the test, for a minute at most, so that nobody waits for its words for ever.
    /// </summary>
    public static System.Diagnostics.Process StartScript(string script, params string[] arguments)
    {
        RequireLibnbd();
        return Surroundings.Start(new System.Diagnostics.ProcessStartInfo(Python,
            ["-c", Prelude + "import signal; signal.alarm(60)\n" + script, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        });
    }

    public static void QemuIo(string uri, params string[] commands) => QemuIo([], uri, commands);

    public static void QemuIoReadOnly(string uri, params string[] commands) => QemuIo(["-r"], uri, commands);

    private static void QemuIo(string[] options, string uri, string[] commands)
    {
        var result = Tool.Run("qemu-io", ["-f", "raw", .. options, .. commands.SelectMany(command => new[] { "-c", command }), uri]);
        // A pattern that doesn't match is only said, not counted.
        Assert.True(result.ExitCode == 0 && !result.Output.Contains("failed", StringComparison.Ordinal)
            && !result.Errors.Contains("failed", StringComparison.Ordinal), result.ToString());
    }

    /// <summary>The whole device, by nbdcopy.</summary>
    public static byte[] ReadAll(Scratch scratch, string uri)
    {
        var copy = scratch["read-all.img"];
        Tool.Ok("nbdcopy", uri, copy);
        var content = File.ReadAllBytes(copy);
        File.Delete(copy);
        return content;
    }

    private static void RequireLibnbd()
    {
        Tool.Find(Python);
        if (!HasLibnbd.Value)
            Tool.Missing("libnbd's Python binding (python3-libnbd) is not installed");
    }
}
