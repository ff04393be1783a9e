namespace Lincow.SystemTests.Harness;

/// <summary>Does the operations of a <see cref="DeviceModel"/> to a file or a block device, by system calls, several at once.</summary>
internal static class FilePlayer
{
    private const string Player = """
        import ctypes, os, stat, sys
        from concurrent.futures import ThreadPoolExecutor
        path, operations, pool, reads = sys.argv[1:]
        pool = open(pool, 'rb').read()
        fd = os.open(path, os.O_RDWR)
        is_block = stat.S_ISBLK(os.fstat(fd).st_mode)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
        KEEP, PUNCH, ZERO = 1, 2, 16

        def write(data, offset):
            while data:
                done = os.pwrite(fd, data, offset)
                data, offset = data[done:], offset + done

        def allocate(mode, offset, length):
            # A block device takes whole sectors; the rest is written.
            start, end = (-(-offset // 512) * 512, (offset + length) // 512 * 512) if is_block else (offset, offset + length)
            if start >= end:
                write(bytes(length), offset)
                return
            write(bytes(start - offset), offset)
            write(bytes(offset + length - end), end)
            if libc.fallocate(fd, mode | KEEP, start, end - start) < 0:
                raise OSError(ctypes.get_errno(), f'fallocate({mode}, {start}, {end - start})')

        def do(word, offset, length, source):
            if word in ('write', 'fua'):
                write(pool[source:source + length], offset)
            elif word == 'trim':
                allocate(PUNCH, offset, length)
            elif word in ('zero', 'keep'):
                allocate(ZERO, offset, length)
            elif word == 'cache':
                os.posix_fadvise(fd, offset, length, os.POSIX_FADV_WILLNEED)
            if word in ('fua', 'flush'):
                os.fdatasync(fd)

        with ThreadPoolExecutor(8) as threads, open(reads, 'wb') as out:
            pending = []
            for line in open(operations):
                word, *numbers = line.split()
                offset, length, source = map(int, numbers)
                # Pages of a block device's cache are shared by neighbours, so one after the other there.
                if word == 'barrier' or is_block:
                    for each in pending:
                        each.result()
                    pending.clear()
                if word == 'read':
                    data = b''
                    while len(data) < length:
                        data += os.pread(fd, length - len(data), offset + len(data))
                    out.write(data)
                elif word != 'barrier':
                    pending.append(threads.submit(do, word, offset, length, source))
            for each in pending:
                each.result()
        os.close(fd)
        """;

    public static void Play(string path, string operations, string pool, string reads)
    {
        var result = Tool.Run("/usr/bin/python3", "-c", Player, path, operations, pool, reads);
        Assert.True(result.ExitCode == 0, (result with { Command = "the player" }).ToString());
    }

    /// <summary>The first bytes of a file or block device.</summary>
    public static byte[] Read(string path, int bytes) => Scratch.ReadAt(path, 0, bytes);
}
