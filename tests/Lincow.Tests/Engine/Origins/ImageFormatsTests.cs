using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using Lincow.Origins;

namespace Lincow.Tests.Engine.Origins;

/// <summary>What is recognised as no disk, and above all what isn't.</summary>
public class ImageFormatsTests
{
    private const long SizeBytes = 1 << 20;

    public static TheoryData<string, string> Heads => new()
    {
        { "qcow2", "514649fb 00000003" },
        { "qcow2", "514649fb 00000001" },
        { "QED", "51454400 00000100" },
        { "VMDK", "4b444d56 01000000" },
        { "VMDK", "434f5744 01000000" },
        { "VMDK", "bebafeca 00000000 01000000 02000000" },
        { "VHDX", "7668647866696c65" },
        { "Android sparse", "3aff26ed 01000000 1c000c00" },
        { "EWF", "455646090d0aff00" },
        { "EWF", "455646320d0a8100" },
        { "AFF", "41464631300d0a00" },
        { "gzip", "1f8b0800 00000000 0003" },
        { "xz", "fd377a585a00 0004" },
        { "zstd", "28b52ffd 24" },
        { "zstd", "502a4d18 04000000 00000000 28b52ffd 24" },
        { "bzip2", "425a6839 314159265359" },
        { "lz4", "04224d18 6440" },
        { "lz4", "02214c18 00100000" },
        { "lzma", "5d00008000 ffffffffffffffff" },
        { "lzip", "4c5a4950 01 0c" },
        { "UML COW", "4f4f4f4d 00000003" },
        { "7z", "377abcaf271c" },
        { "RAR", "526172211a0700" },
    };

    [Theory]
    [MemberData(nameof(Heads))]
    public void A_format_is_known_by_its_head(string format, string head) =>
        Assert.Equal(format, Recognise(Convert.FromHexString(head.Replace(" ", "", StringComparison.Ordinal))));

    [Fact]
    public void Formats_that_begin_with_a_text_are_known()
    {
        Assert.Equal("VMDK", Recognise("# Disk DescriptorFile\nversion=1\n"u8));
        Assert.Equal("Parallels", Recognise("WithoutFreeSpace"u8));
        Assert.Equal("Parallels", Recognise("WithouFreSpacExt"u8));
        Assert.Equal("Bochs", Recognise("Bochs Virtual HD Image\0"u8));
        Assert.Equal("cloop", Recognise("#!/bin/sh\n#V2.0 Format\nmodprobe"u8));
        Assert.Equal("partclone", Recognise("partclone-image\0"u8));
        Assert.Equal("DMG", Recognise("encrcdsa"u8));
        var vdi = new byte[512];
        "<<< Oracle VM VirtualBox Disk Image >>>\n"u8.CopyTo(vdi);
        BinaryPrimitives.WriteUInt32LittleEndian(vdi.AsSpan(64), 0xbeda107f);
        BinaryPrimitives.WriteUInt32LittleEndian(vdi.AsSpan(68), 0x00010001);
        Assert.Equal("VDI", Recognise(vdi));
    }

    [Fact]
    public void A_virtual_hard_disk_of_fixed_size_is_known_by_a_footer_that_fits()
    {
        var footer = VhdFooter(SizeBytes - 512, type: 2);
        Assert.Equal("VHD", ImageFormats.Recognise(new byte[4096], footer, SizeBytes));
        // What is left of an earlier, smaller image, a footer that is damaged, one on a device, whose last bytes aren't looked at.
        Assert.Null(ImageFormats.Recognise(new byte[4096], footer, SizeBytes + 4096));
        Assert.Null(ImageFormats.Recognise(new byte[4096], [], SizeBytes));
        footer[100] ^= 1;
        Assert.Null(ImageFormats.Recognise(new byte[4096], footer, SizeBytes));
        Assert.Equal("VHD", Recognise(VhdFooter(SizeBytes * 10, type: 3)));
        Assert.Null(Recognise([.. "conectix"u8, .. new byte[504]]));
    }

    [Fact]
    public void A_mac_image_is_known_by_its_trailer()
    {
        byte[] trailer = [.. "koly"u8, 0, 0, 0, 4, 0, 0, 2, 0, .. new byte[500]];
        Assert.Equal("DMG", ImageFormats.Recognise(new byte[4096], trailer, SizeBytes));
        Assert.Null(ImageFormats.Recognise(new byte[4096], [], SizeBytes));
    }

    [Fact]
    public void An_archive_is_one_in_a_file_and_somebodys_data_on_a_device()
    {
        var tar = new MemoryStream();
        using (var writer = new System.Formats.Tar.TarWriter(tar, leaveOpen: true))
            writer.WriteEntry(new System.Formats.Tar.UstarTarEntry(System.Formats.Tar.TarEntryType.RegularFile, "disk.vmdk"));
        Assert.Equal("tar", Recognise(tar.ToArray()));
        Assert.Null(ImageFormats.Recognise(tar.ToArray(), [], SizeBytes));
        var zip = new MemoryStream();
        using (var archive = new ZipArchive(zip, ZipArchiveMode.Create, leaveOpen: true))
            archive.CreateEntry("information.turtle").Open().Dispose();
        Assert.Equal("ZIP", Recognise(zip.ToArray()));
    }

    [Theory]
    [InlineData("eb3c906d6b66732e66617400")]
    [InlineData("4c554b53babe0002")]
    [InlineData("1f8b0845")]
    [InlineData("514649fb 00000009")]
    [InlineData("425a6839 000000000000")]
    [InlineData("28b52ffd 2c")]
    [InlineData("")]
    public void Disks_are_disks(string head) =>
        Assert.Null(Recognise(Convert.FromHexString(head.Replace(" ", "", StringComparison.Ordinal))));

    [Fact]
    public void What_is_encrypted_as_a_whole_is_a_disk()
    {
        var random = new Random(1);
        var head = new byte[4096];
        for (var i = 0; i < 20_000; i++)
        {
            random.NextBytes(head);
            Assert.Null(Recognise(head));
        }
    }

    [Fact]
    public void A_part_is_told_by_its_neighbour()
    {
        var directory = Directory.CreateTempSubdirectory("lincow-p").FullName;
        try
        {
            Make("a.000", 8192);
            Make("a.001", 8192);
            Make("a.002", 100);
            Assert.EndsWith("a.001", OriginShape.FindOtherPart(Path.Combine(directory, "a.000"), 8192));
            Assert.EndsWith("a.001", OriginShape.FindOtherPart(Path.Combine(directory, "a.002"), 100));
            Make("b.aa", 8192);
            Make("b.ab", 4096);
            Assert.EndsWith("b.ab", OriginShape.FindOtherPart(Path.Combine(directory, "b.aa"), 8192));
            // One that is alone is whole; a larger one doesn't follow, nor does a smaller one go before.
            Make("c.001", 8192);
            Assert.Null(OriginShape.FindOtherPart(Path.Combine(directory, "c.001"), 8192));
            Make("c.002", 9000);
            Assert.Null(OriginShape.FindOtherPart(Path.Combine(directory, "c.001"), 8192));
            Assert.Null(OriginShape.FindOtherPart(Path.Combine(directory, "c.img"), 8192));
            Assert.Null(OriginShape.FindOtherPart(Path.Combine(directory, "c"), 8192));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }

        void Make(string name, int bytes) => File.WriteAllBytes(Path.Combine(directory, name), new byte[bytes]);
    }

    private static string? Recognise(ReadOnlySpan<byte> head) => ImageFormats.Recognise(head, new byte[512], SizeBytes);

    private static byte[] VhdFooter(long contentBytes, uint type)
    {
        var footer = new byte[512];
        Encoding.ASCII.GetBytes("conectix").CopyTo(footer, 0);
        BinaryPrimitives.WriteInt64BigEndian(footer.AsSpan(48), contentBytes);
        BinaryPrimitives.WriteUInt32BigEndian(footer.AsSpan(60), type);
        BinaryPrimitives.WriteUInt32BigEndian(footer.AsSpan(64), ~(uint)footer.Sum(value => value));
        return footer;
    }
}
