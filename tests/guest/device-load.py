#!/usr/bin/python3
"""Runs in the guest: writes to a block device past the page cache, from several threads, and remembers what has to be there.

usage: device-load.py run DEVICE FILE SEED SECONDS    writes for so long after the last server was killed, then verifies; any error is the end
       device-load.py once DEVICE FILE SEED           writes for a moment, flushes, and notes in FILE what is there
       device-load.py verify DEVICE FILE              whether it still is
Every 512 bytes of a block of 4096 bear the block's number and a version.
"""
import mmap, os, random, struct, sys, threading, time

BLOCK, BLOCKS, THREADS = 4096, 256, 4
START = 16 << 20


def stamp(block, version):
    return struct.pack('<QQ', 0x4c43 << 48 | block, version) * (BLOCK // 16)


def verify(descriptor, versions):
    buffer = mmap.mmap(-1, BLOCK)
    for block, version in sorted(versions.items()):
        os.preadv(descriptor, [buffer], START + block * BLOCK)
        assert buffer[:] == stamp(block, version), 'block %d is not version %d, it begins with %s' % (block, version, buffer[:16].hex())


def write(descriptor, mine, seed, is_over, versions):
    rng = random.Random(seed)
    buffer = mmap.mmap(-1, 4 * BLOCK)
    while not is_over():
        block = rng.choice(mine)
        count = min(rng.randint(1, 4), mine[-1] + 1 - block)
        for i in range(count):
            versions[block + i] = versions.get(block + i, 0) + 1
            buffer[i * BLOCK:(i + 1) * BLOCK] = stamp(block + i, versions[block + i])
        assert os.pwritev(descriptor, [memoryview(buffer)[:count * BLOCK]], START + block * BLOCK) == count * BLOCK
        if rng.randrange(16) == 0:
            os.fdatasync(descriptor)
        if rng.randrange(4) == 0:
            verify(descriptor, {block: versions[block]})


def load(descriptor, seed, is_over):
    errors, versions = [], [{} for _ in range(THREADS)]

    def work(thread):
        try:
            mine = range(thread * BLOCKS // THREADS, (thread + 1) * BLOCKS // THREADS)
            write(descriptor, mine, seed + thread, is_over, versions[thread])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    print('loaded', flush=True)
    for thread in threads:
        thread.join()
    if errors:
        sys.exit('a request failed: %r' % errors)
    return {block: version for each in versions for block, version in each.items()}


mode, device, note = sys.argv[1:4]
descriptor = os.open(device, os.O_RDWR | os.O_DIRECT)
if mode == 'verify':
    with open(note) as lines:
        verify(descriptor, {int(block): int(version) for block, version in (line.split() for line in lines)})
else:
    seed = int(sys.argv[4])
    if mode == 'run':
        # As long as it is told to go on, and at least so long after.
        stop = note + '.stop'
        seconds = float(sys.argv[5])
        end = []

        def is_over():
            if not end and os.path.exists(stop):
                end.append(time.monotonic() + seconds)
            return end and time.monotonic() > end[0]
        versions = load(descriptor, seed, is_over)
    else:
        end = time.monotonic() + 1
        versions = load(descriptor, seed, lambda: time.monotonic() > end)
        os.fdatasync(descriptor)
    verify(descriptor, versions)
    with open(note, 'w') as lines:
        lines.writelines('%d %d\n' % each for each in versions.items())
    print('done', flush=True)
