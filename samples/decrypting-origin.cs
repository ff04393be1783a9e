#:project ../src/Lincow.Serving/Lincow.Serving.csproj

// An origin that a program decides on: a golden image that is encrypted at rest, decrypted chunk by chunk as it is read, below an overlay
// that takes every write. What dm-userspace did for mappings, in C#.
//
//   dotnet run samples/decrypting-origin.cs -- make plain.img image.enc KEY      encrypts an image
//   dotnet run samples/decrypting-origin.cs -- serve image.enc KEY nbd.sock      serves it, writable, until Ctrl-C; writes are forgotten
//
// KEY is any text. The cipher is AES-256 in counter mode: enough for a sample, not for your secrets (nothing authenticates the image).

using Lincow;
using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Lincow.Serving.Hosting;

switch (args)
{
    case ["make", var plain, var image, var key]:
        var content = File.ReadAllBytes(plain);
        new CounterMode(key).Apply(0, content);
        File.WriteAllBytes(image, content);
        return 0;
    case ["serve", var image, var key, var socket]:
        await Serve(new DecryptingOrigin(image, key), socket);
        return 0;
    default:
        Console.Error.WriteLine("usage: make PLAIN IMAGE KEY | serve IMAGE KEY SOCKET");
        return 2;
}

static async Task Serve(UserOrigin origin, string socket)
{
    var stop = new TaskCompletionSource();
    Console.CancelKeyPress += (_, e) =>
    {
        e.Cancel = true;
        stop.TrySetResult();
    };
    await using var host = new Host(new HostOptions { Log = Console.Error.WriteLine });
    var export = await host.AddAsync(new ExportOptions { Overlay = new OverlayOptions { UserOrigin = origin }, Name = "decrypted" });
    Console.WriteLine($"ready {host.Listen(ListenAddress.AtPath(socket)).UriOf(export)}");
    await stop.Task;
}

/// <summary>Reads come from several threads: RandomAccess and a cipher for each call make that safe.</summary>
internal sealed class DecryptingOrigin(string path, string key) : UserOrigin
{
    private readonly Microsoft.Win32.SafeHandles.SafeFileHandle _file = File.OpenHandle(path);
    private readonly CounterMode _cipher = new(key);

    public override string Name => Path.GetFullPath(path);

    public override long SizeBytes => RandomAccess.GetLength(_file);

    public override void Read(long byteOffset, Span<byte> target)
    {
        for (var done = 0; done < target.Length;)
            done += RandomAccess.Read(_file, target[done..], byteOffset + done) is > 0 and var count
                ? count : throw new EndOfStreamException(path);
        _cipher.Apply(byteOffset, target);
    }

    protected override void Dispose(bool disposing) => _file.Dispose();
}

internal sealed class CounterMode(string key)
{
    private readonly byte[] _key = SHA256.HashData(Encoding.UTF8.GetBytes(key));

    public void Apply(long byteOffset, Span<byte> content)
    {
        using var aes = Aes.Create();
        aes.Key = _key;
        var first = byteOffset / 16;
        var stream = new byte[((byteOffset + content.Length + 15) / 16 - first) * 16];
        for (var block = 0; block < stream.Length / 16; block++)
            BinaryPrimitives.WriteInt64BigEndian(stream.AsSpan(block * 16 + 8), first + block);
        aes.EncryptEcb(stream, stream, PaddingMode.None);
        for (var i = 0; i < content.Length; i++)
            content[i] ^= stream[(int)(byteOffset % 16) + i];
    }
}
