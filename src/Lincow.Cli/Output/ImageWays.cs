namespace Lincow.Cli.Output;

/// <summary>
/// What to do with an origin that is an image in another format: what lincow can, or the programs that show it as a raw disk.
/// </summary>
internal static class ImageWays
{
    /// <summary>The advice, without a full stop at its end.</summary>
    /// <param name="format">The format's name, as the error states it.</param>
    /// <param name="file">The image.</param>
    public static string Of(string format, string file) => Program(format, file)
        + $"; if it is its bytes as they are that you mean, give raw:{file}";

    private static string Program(string format, string file) => format switch
    {
        "qcow2" => $"'lincow convert {file} NEW.cow' makes an overlay of it; 'qemu-img convert -O raw {file} NEW.img' makes a raw image, "
            + $"'qemu-nbd --read-only --connect=/dev/nbd0 {file}' a block device",
        "UML COW" => $"'lincow convert {file} NEW.cow' makes an overlay of it",
        "VMDK" or "VDI" or "VHDX" or "VHD" or "QED" or "Parallels" or "Bochs" or "cloop" or "DMG" =>
            $"'qemu-img convert -f {QemuName(format)} -O raw {file} NEW.img' makes a raw image of it, 'qemu-nbd --read-only -f "
            + $"{QemuName(format)} --connect=/dev/nbd0 {file}' a block device"
            + (format == "DMG" ? "; if it is encrypted, decrypt it on a Mac" : ""),
        "EWF" => $"'ewfmount {file} DIRECTORY' shows it as the raw file DIRECTORY/ewf1, 'ewfexport -f raw {file}' makes a raw image of it",
        "AFF" or "AFF4" => $"'affuse {file} DIRECTORY' or 'xmount' shows it as a raw file",
        "gzip" or "xz" or "bzip2" => $"'{format} -dc {file} >NEW.img' unpacks it, "
            + $"'nbdkit --filter={format} file {file}' serves it without that (nbdfuse shows what it serves as a file)",
        "zstd" or "lz4" or "lzip" or "lzop" or "lzma" => $"'{format} -dc {file} >NEW.img' unpacks it",
        "partclone" => $"'partclone.restore -C -s {file} -O NEW.img' makes a raw image of it",
        "Partimage" => "'partimage restore' writes it to a partition",
        "ntfsclone" => $"'ntfsclone --restore-image --overwrite NEW.img {file}' makes a raw image of it",
        "WIM" => $"'wimmount {file} DIRECTORY' shows the files in it; there is no disk in it",
        "Android sparse" => $"'simg2img {file} NEW.img' makes a raw image of it",
        "tar" => $"'tar -xf {file}' unpacks it; an appliance (.ova) has its disks in it",
        _ => "unpack it first",
    };

    private static string QemuName(string format) => format switch
    {
        "VHD" => "vpc",
        _ => format.ToLowerInvariant(),
    };
}
