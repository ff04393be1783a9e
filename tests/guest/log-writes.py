#!/usr/bin/python3
"""Runs in the guest: writes to an overlay on a dm-log-writes device, and keeps a journal of what was asked for and what was answered.

usage: log-writes.py LINCOW DEVICE ORIGIN JOURNAL SEED FLUSHES CACHE CHUNK REGION...
  REGION   START+COUNT, in sectors: where to write
The device-mapper device log is the one that keeps the log. Lines of the journal, in the order in which things happened:
  i SECTOR VERSION     a write of this version was sent         z SECTOR VERSION   the same, of zeroes
  a SECTOR VERSION     it was answered                          d SECTOR VERSION   it was answered, and had FUA
  f                    a flush was sent                         F                  it was answered
  c                    the server ended cleanly after SIGTERM   r, R               reset begins, has ended
  m NAME               a mark of this name went into the log
"""
import fcntl, random, signal, struct, subprocess, sys
import nbd

lincow, device, origin, journal, seed, flushes, cache, chunk = sys.argv[1:9]
regions = [tuple(map(int, region.split('+'))) for region in sys.argv[9:]]
seed, flushes = int(seed), int(flushes)
random = random.Random(seed)
out = open(journal, 'w')
SOCKET = '/run/log-writes.sock'
TAG = 0x4c43 << 48
chunk_sectors = int(chunk) // 512
versions = {}
marks = 0


def mark():
    """What "dmsetup message log 0 mark NAME" does, without a process for each (struct dm_ioctl and dm_target_msg, DM_TARGET_MSG)."""
    global marks
    marks += 1
    message = struct.pack('<Q', 0) + b'mark %d\0' % marks
    head = struct.pack('<IIIIIIiIIIQ128s129s7s', 4, 0, 0, 312 + len(message), 312, 0, 0, 0, 0, 0, 0, b'log', b'', b'')
    with open('/dev/mapper/control', 'rb') as control:
        fcntl.ioctl(control, 0xc138fd0e, bytearray(head + message + bytes(512)), True)
    out.write('m %d\n' % marks)


def stamp(sector, version):
    return struct.pack('<QQ', TAG | sector, version) * 32


class Load:
    def __init__(self):
        self.server = subprocess.Popen([lincow, 'serve', device, '--cache', cache, '--nbd', 'unix:' + SOCKET], stdout=subprocess.PIPE, text=True)
        assert self.server.stdout.readline().startswith('ready '), 'the server did not get ready'
        self.handles = []
        for _ in range(2):
            handle = nbd.NBD()
            handle.connect_unix(SOCKET)
            self.handles.append(handle)
        self.busy = set()

    def change(self):
        start, count = random.choice(regions)
        sector = start + random.randrange(count)
        sectors = range(sector, min(sector + random.randint(1, 12), start + count))
        if not self.busy.isdisjoint(sectors):
            return
        self.busy.update(sectors)
        kind = random.randrange(8)
        fua = nbd.CMD_FLAG_FUA if random.randrange(20) == 0 else 0
        done = []
        for s in sectors:
            versions[s] = versions.get(s, 0) + 1
            # Of a chunk in part, a trim may leave what was there.
            whole = chunk_sectors * (s // chunk_sectors)
            sure = kind != 0 or (whole >= sectors.start and whole + chunk_sectors <= sectors.stop)
            done.append((s, versions[s], sure))
            out.write('%s %d %d\n' % ('z' if kind < 2 else 'i', s, versions[s]))

        def answered(error):
            assert error.value == 0, 'error %d' % error.value
            self.busy.difference_update(sectors)
            for s, version, sure in done:
                if sure:
                    out.write('%s %d %d\n' % ('d' if fua else 'a', s, version))
            return 1

        handle = random.choice(self.handles)
        offset, length = sector * 512, len(sectors) * 512
        if kind == 0:
            handle.aio_trim(length, offset, completion=answered, flags=fua)
        elif kind == 1:
            handle.aio_zero(length, offset, completion=answered, flags=fua)
        else:
            content = bytearray(b''.join(stamp(s, version) for s, version, _ in done))
            handle.aio_pwrite(nbd.Buffer.from_bytearray(content), offset, completion=answered, flags=fua)

    def poll(self, handle, wait):
        while handle.aio_in_flight() > 0 and handle.poll(wait) > 0 and wait == 0:
            pass

    def flush(self):
        flushed = []

        def answered(error):
            assert error.value == 0, 'error %d' % error.value
            out.write('F\n')
            flushed.append(True)
            return 1

        for _ in range(random.randint(1, 10)):
            self.change()
            if random.randrange(3) == 0:
                for handle in self.handles:
                    self.poll(handle, 0)
        handle = random.choice(self.handles)
        out.write('f\n')
        handle.aio_flush(completion=answered)
        for _ in range(random.randint(0, 4)):
            self.change()
        while not flushed:
            self.poll(handle, 1000)
        mark()

    def end(self):
        for handle in self.handles:
            while handle.aio_in_flight() > 0:
                handle.poll(1000)
            handle.shutdown()
        self.server.send_signal(signal.SIGTERM)
        assert self.server.wait() == 0, 'the server ended with %d' % self.server.returncode
        out.write('c\n')
        mark()


subprocess.run([lincow, 'create', device, '--origin', origin, '--chunk', chunk, '--force', '--quiet'], check=True)
mark()
for part in range(3):
    load = Load()
    for _ in range(flushes // 3):
        load.flush()
    load.end()
    if part == 1:
        out.write('r\n')
        subprocess.run([lincow, 'reset', device, '--quiet'], check=True)
        out.write('R\n')
        mark()
out.close()
