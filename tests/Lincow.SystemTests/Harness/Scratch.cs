using System.Globalization;
using System.Security.Cryptography;

namespace Lincow.SystemTests.Harness;

/// <summary>A directory of a test's own, gone with it. Its path is short, because socket paths have to be.</summary>
internal sealed class Scratch : IDisposable
{
    private int _sockets;

    public string Directory { get; } = System.IO.Directory.CreateTempSubdirectory("lincow-t").FullName;

    public string this[string name] => Path.Combine(Directory, name);

    public string NewSocket() => this[$"s{Interlocked.Increment(ref _sockets)}"];

    /// <summary>A file of random bytes, the same for the same seed.</summary>
    public string Random(string name, int bytes, int seed = 1)
    {
        File.WriteAllBytes(this[name], RandomBytes(bytes, seed));
        return this[name];
    }

    /// <summary>A file without data.</summary>
    public string Sparse(string name, long bytes)
    {
        using var file = File.Create(this[name]);
        file.SetLength(bytes);
        return this[name];
    }

    public static byte[] RandomBytes(int bytes, int seed)
    {
        var content = new byte[bytes];
        new Random(seed).NextBytes(content);
        return content;
    }

    public static byte[] ReadAt(string path, long offset, int bytes)
    {
        var buffer = new byte[bytes];
        using var file = File.Open(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        file.Position = offset;
        file.ReadExactly(buffer);
        return buffer;
    }

    public static void WriteAt(string path, long offset, byte[] bytes)
    {
        using var file = File.Open(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        file.Position = offset;
        file.Write(bytes);
    }

    public static string Sha256(string path)
    {
        using var file = File.OpenRead(path);
        return Convert.ToHexString(SHA256.HashData(file));
    }

    /// <summary>What du says: bytes that the file takes of its file system.</summary>
    public static long DiskUsage(string path) =>
        long.Parse(Tool.Ok("du", "--block-size=1", path).Split('\t')[0], CultureInfo.InvariantCulture);

    public void Dispose() => System.IO.Directory.Delete(Directory, recursive: true);
}
