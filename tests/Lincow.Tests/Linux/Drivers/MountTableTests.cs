using Lincow.Linux;

namespace Lincow.Tests.Linux.Drivers;

/// <summary>Mount tables as the kernel writes them (proc_pid_mountinfo(5)).</summary>
public class MountTableTests
{
    [Theory]
    // As the kernel escapes them.
    [InlineData(@"/mnt/two\040words", "/mnt/two words")]
    [InlineData(@"/mnt/a\012b", "/mnt/a\nb")]
    [InlineData(@"/mnt/a\134b", "/mnt/a\\b")]
    [InlineData(@"/mnt/a\011b", "/mnt/a\tb")]
    // What it doesn't.
    [InlineData("/mnt/a\rb", "/mnt/a\rb")]
    [InlineData("/mnt/a\u0085b\u2028c", "/mnt/a\u0085b\u2028c")]
    [InlineData("/mnt/Müller", "/mnt/Müller")]
    // What it never writes is no reason to fall over it.
    [InlineData(@"/mnt/a\999", @"/mnt/a\999")]
    [InlineData(@"/mnt/a\", @"/mnt/a\")]
    public void A_mount_point_is_found_whatever_its_name_is(string written, string path)
    {
        var file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, $"36 35 7:0 / {written} rw,noatime master:1 - ext4 /dev/loop0 rw\n"
                + "37 35 8:1 / /other rw - ext4 /dev/sda1 rw\n");
            Assert.Equal([("7:0", path), ("8:1", "/other")], MountTable.Read(file).Select(mount => (mount.Device, mount.Path)));
        }
        finally
        {
            File.Delete(file);
        }
    }
}
