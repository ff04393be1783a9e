using System.Diagnostics;
using System.Security.Cryptography;
using Lincow.Cli.Output;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Serving.Hosting;

namespace Lincow.Cli;

/// <summary>
/// The whole story with real tools: an image with files, an overlay, a change through an NBD client, the origin untouched, the bytes at the
/// same offset, and the way back.
/// </summary>
internal sealed class Demo
{
    private const long Mebibyte = 1 << 20;
    private const string Socket = "nbd.sock";

    private readonly string _directory;
    private readonly Stopwatch _clock = Stopwatch.StartNew();

    private Demo(string directory) => _directory = directory;

    private string Origin => Path.Combine(_directory, "golden.img");

    private string Overlay => Path.Combine(_directory, "work.cow");

    public static int Run()
    {
        foreach (var (tool, package) in new[] { ("mke2fs", "e2fsprogs"), ("debugfs", "e2fsprogs"), ("e2fsck", "e2fsprogs"),
            ("nbdcopy", "libnbd-bin"), ("nbdinfo", "libnbd-bin"), ("qemu-io", "qemu-utils") })
        {
            if (Find(tool) is null)
                throw new CommandException($"{tool} is missing, and the demo shows real tools. Install it with: sudo apt-get install "
                    + $"{package}");
        }
        var directory = SocketDirectory.Make("lincow-demo-", Socket);
        try
        {
            new Demo(directory).Play();
            return 0;
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private void Play()
    {
        Title("1. A golden image: an ext4 file system with files in it");
        MakeOrigin();
        var before = Hash(Origin);
        Say($"SHA-256 of golden.img: {before}");

        Title("2. lincow create: an overlay over it");
        OverlayCreator.Create(new CreateOptions { Overlay = Overlay, Origin = Origin });
        var info = OverlayDescription.Read(Overlay, null);
        Say($"work.cow: {SizeText.Format(info.Size)} device, map {SizeText.Format(info.MapBytes)}, data at shift "
            + $"{SizeText.Format(info.DataOffset)}, {SizeText.Format(info.AllocatedBytes ?? 0)} on disk");

        Title("3. lincow serve: change files through a real NBD client");
        Serve(ChangeFiles);

        Title("4. The origin did not change");
        var after = Hash(Origin);
        Say($"SHA-256 of golden.img: {after}");
        Require(before == after, "the origin has changed");

        Title("5. Where the bytes went: the same offset, plus one constant shift");
        ShowLinearity(info.DataOffset);

        Title("6. lincow reset: back to the image");
        var reset = Stopwatch.StartNew();
        OverlayReset.Reset(Overlay, null);
        Say($"took {reset.Elapsed.TotalMilliseconds:0.0} ms; {SizeText.Format(OverlayDescription.Read(Overlay, null).AllocatedBytes ?? 0)} "
            + "on disk now");
        Serve(uri =>
        {
            var copy = Path.Combine(_directory, "after-reset.img");
            Tool("nbdcopy", uri, copy);
            Require(Hash(copy) == before, "the device differs from the origin after the reset");
            Say("the change is gone: the device reads as golden.img, byte for byte");
        });
        Title($"Done in {_clock.Elapsed.TotalSeconds:0.0} s.");
        Say("Now your own image: lincow create work.cow --origin YOUR.img");
    }

    private void MakeOrigin()
    {
        var tree = Directory.CreateDirectory(Path.Combine(_directory, "tree"));
        File.WriteAllText(Path.Combine(tree.FullName, "motd"), "golden: as delivered\n");
        var random = new Random(2006);
        for (var i = 0; i < 40; i++)
        {
            var content = new byte[random.Next(1000, 200_000)];
            random.NextBytes(content);
            File.WriteAllBytes(Path.Combine(tree.FullName, $"file{i:00}.bin"), content);
        }
        using (var image = File.Create(Origin))
            image.SetLength(64 * Mebibyte);
        Tool("mke2fs", "-q", "-t", "ext4", "-d", tree.FullName, Origin);
        Say($"golden.img: 64 MiB, {Directory.GetFiles(tree.FullName).Length} files");
    }

    private void ChangeFiles(string uri)
    {
        var copy = Path.Combine(_directory, "edited.img");
        Tool("nbdcopy", uri, copy);
        var text = Path.Combine(_directory, "motd.new");
        File.WriteAllText(text, "changed: through lincow\n");
        Tool("debugfs", "-w", "-R", "rm motd", copy);
        Tool("debugfs", "-w", "-R", $"write {text} motd", copy);
        Tool("nbdcopy", "--flush", copy, uri);
        Say("changed /motd with debugfs and copied the result back with nbdcopy");
        Tool("qemu-io", "-f", "raw", "-c", "write -P 0x5a 48M 1M", "-c", "flush", uri);
        Say("and wrote 1 MiB at device byte 48 MiB with qemu-io");
        var check = Path.Combine(_directory, "check.img");
        Tool("nbdcopy", uri, check);
        Require(Tool("debugfs", "-R", "cat motd", check).Contains("changed: through lincow", StringComparison.Ordinal),
            "the change can't be read back");
        Say("read back through lincow: /motd says \"changed: through lincow\"");
    }

    private void ShowLinearity(long shift)
    {
        using var data = File.OpenRead(Overlay);
        var bytes = new byte[Mebibyte];
        data.Position = 48 * Mebibyte + shift;
        data.ReadExactly(bytes);
        Require(bytes.AsSpan().IndexOfAnyExcept((byte)0x5a) < 0, "the overlay's data isn't where it should be");
        Say($"device byte {48 * Mebibyte} (48 MiB) lies at byte {48 * Mebibyte + shift} of work.cow: 1 MiB of 0x5a, read straight "
            + "from the file");
        Say($"{"device offset",-15}{"length",-12}{"comes from",-12}at byte");
        var shown = 0;
        OverlayMap.ForEach(new OverlayOptions { Overlay = Overlay }, range =>
        {
            if (range is { Data: true, Depth: 0 } && (shown++ < 3 || range.Start >= 48 * Mebibyte))
                Say($"{range.Start,-15}{SizeText.Format(range.Length),-12}{Path.GetFileName(range.Filename!),-12}{range.Offset}");
        });
    }

    private void Serve(Action<string> use)
    {
        var host = new Host(new HostOptions { Command = "demo", Log = CommandRunner.Warn });
        try
        {
            var export = host.AddRange([new ExportOptions { Overlay = new OverlayOptions { Overlay = Overlay } }])[0];
            use(host.Listen(new ListenAddress.Unix(Path.Combine(_directory, Socket))).UriOf(export)!);
        }
        finally
        {
            host.StopAsync().GetAwaiter().GetResult();
        }
    }

    private static string Tool(string name, params string[] arguments)
    {
        var start = new ProcessStartInfo(Find(name)!, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? output
            : throw new CommandException($"{name} {string.Join(' ', arguments)} failed: {error.Result.Trim()}");
    }

    private static string? Find(string tool) =>
        (Environment.GetEnvironmentVariable("PATH") + ":/usr/sbin:/sbin").Split(':').Select(directory => Path.Combine(directory, tool))
            .FirstOrDefault(File.Exists);

    private static string Hash(string path)
    {
        using var file = File.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(file));
    }

    private static void Require(bool condition, string otherwise)
    {
        if (!condition)
            throw new CommandException("the demo failed: " + otherwise);
    }

    private static void Title(string text) => Console.Out.WriteLine("\n" + Terminal.Title(text));

    private static void Say(string text) => Console.Out.WriteLine("   " + text);
}
