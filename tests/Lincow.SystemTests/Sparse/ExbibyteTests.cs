using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Sparse;

/// <summary>The largest device, 2^60 bytes: on tmpfs, whose files may be long enough.</summary>
public class ExbibyteTests
{
    private const long DeviceBytes = 1L << 60;

    [Theory]
    [InlineData("4K", false)]
    [InlineData("4K", true)]
    [InlineData("64M", false)]
    public void The_last_bytes_of_an_exbibyte_are_written_and_kept(string chunk, bool isSeparate)
    {
        var directory = Directory.CreateDirectory($"/dev/shm/lincow-t{Guid.NewGuid():N}").FullName;
        using var scratch = new Scratch();
        try
        {
            var overlay = Path.Combine(directory, "e.cow");
            string[] separate = isSeparate ? ["--map", Path.Combine(directory, "e.map")] : [];
            Cli.Ok(["create", overlay, "--origin", "zero:1024P", "--chunk", chunk, .. separate]);
            var last = DeviceBytes - 4096;
            using (var server = LincowServer.Start(scratch, overlay))
            {
                Nbd.QemuIo(server.Uri, $"write -P 0x61 {last} 4096", "write -P 0x62 0 512", $"read -P 0x61 {last} 4096",
                    $"read -P 0 {DeviceBytes / 2} 1M", "flush");
                Assert.InRange(server.ResidentKiB, 1, 50 << 10);
                server.Stop();
            }
            using (var server = LincowServer.Start(scratch, overlay))
            {
                Nbd.QemuIo(server.Uri, $"read -P 0x61 {last} 4096", "read -P 0x62 0 512");
                server.Stop();
            }
            var info = Cli.Info(overlay);
            Assert.Equal((DeviceBytes, 2L, true), (info.Size, info.Chunks.Data, info.Clean));
            Assert.All(Scratch.ReadAt(info.DataPath, last + info.DataOffset, 4096), value => Assert.Equal(0x61, value));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }
}
