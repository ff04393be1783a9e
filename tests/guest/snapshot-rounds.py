#!/usr/bin/python3
"""Runs in the guest: lincow and the kernel's dm-snapshot take turns at one store over one origin. After each turn the other has to read exactly
what was written, and to count what is allocated alike.

usage: snapshot-rounds.py LINCOW SEED PART...
  PART   a chunk size in sectors, for rounds in which both write; or "full", "left-over"
/dev/vda is the origin, /dev/vdb the store, /dev/vdc a store that is soon full. All content is compared with a model in memory.
"""
import errno, json, os, random, signal, subprocess, sys
import nbd

lincow, seed = sys.argv[1], int(sys.argv[2])
random = random.Random(seed)
ORIGIN, STORE, SMALL = '/dev/vda', '/dev/vdb', '/dev/vdc'
SOCKET = '/run/rounds.sock'
SNAP = '/dev/mapper/snap'
ROUNDS, WRITES = 4, 100


def run(*arguments, status=0):
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == status, '%s: status %d\n%s' % (' '.join(arguments), done.returncode, done.stdout)
    return done.stdout.strip()


def read_device(path):
    with open(path, 'rb') as file:
        return file.read()


def compare(found, wanted, who):
    assert len(found) == len(wanted), '%s: %d bytes, not %d' % (who, len(found), len(wanted))
    if found != wanted:
        at = [i for i in range(0, len(found), 512) if found[i:i + 512] != wanted[i:i + 512]]
        raise AssertionError('%s: %d sectors are wrong, from sector %d to %d' % (who, len(at), at[0] // 512, at[-1] // 512))


class Lincow:
    """A server over a store; like Kernel, something to read, write and flush."""

    def __init__(self, store, *options):
        self.store = store
        self.process = subprocess.Popen([lincow, 'serve', store, '--origin', ORIGIN, '--nbd', 'unix:' + SOCKET, *options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().startswith('ready '), 'lincow serves nothing'
        self.handle = nbd.NBD()
        self.handle.connect_unix(SOCKET)

    def read(self):
        size = self.handle.get_size()
        return b''.join(bytes(self.handle.pread(min(1 << 20, size - at), at)) for at in range(0, size, 1 << 20))

    def write(self, at, content):
        self.handle.pwrite(content, at)

    def flush(self):
        self.handle.flush()

    def status(self):
        return run(lincow, 'status', self.store, '--dm')

    def end(self, by=signal.SIGTERM):
        if by == signal.SIGTERM:
            self.handle.shutdown()
        self.process.send_signal(by)
        assert self.process.wait() == (0 if by == signal.SIGTERM else -by), 'lincow ended with %d' % self.process.returncode
        del self.handle


def dmsetup_create(store, chunk, kind='P', target='snapshot', status=0):
    return run('dmsetup', 'create', 'snap', '--table', '0 %d %s %s %s %s %d' % (len(base) // 512, target, ORIGIN, store, kind, chunk), status=status)


class Kernel:
    def __init__(self, store, chunk, kind='P', target='snapshot'):
        dmsetup_create(store, chunk, kind, target)
        self.file = os.open(SNAP, os.O_RDWR)

    def read(self):
        return read_device(SNAP)

    def write(self, at, content):
        os.pwrite(self.file, content, at)

    def flush(self):
        os.fsync(self.file)

    def status(self):
        return run('dmsetup', 'status', 'snap')

    def end(self):
        os.close(self.file)
        run('dmsetup', 'remove', 'snap')


def change(who, model, writes=WRITES):
    for _ in range(writes):
        at = random.randrange(len(model) // 512) * 512
        content = random.randbytes(min(512 * random.randint(1, 24), len(model) - at))
        who.write(at, content)
        model[at:at + len(content)] = content
    who.flush()


def status_at_rest(store):
    return '0 %d snapshot %s' % (len(base) // 512, json.loads(run(lincow, 'info', store, '--origin', ORIGIN, '--json'))['dmStatus'])


def check(store):
    run(lincow, 'check', store, '--origin', ORIGIN)


def create(store, chunk):
    run(lincow, 'create', store, '--origin', ORIGIN, '--store', 'snapshot', '--chunk', str(chunk * 512), '--force', '--quiet')


def rounds(chunk):
    model = bytearray(base)
    create(STORE, chunk)
    for number in range(ROUNDS):
        ours = Lincow(STORE)
        compare(ours.read(), model, 'lincow, round %d' % number)
        if number > 0:
            assert ours.status() == counted, 'the kernel said %s, lincow says %s' % (counted, ours.status())
        change(ours, model)
        counted = ours.status()
        if number == 0:
            # Whoever comes second is refused.
            dmsetup_create(STORE, chunk, status=1)
        # What was flushed is the kernel's, however the server ends.
        ours.end(signal.SIGKILL if number % 2 else signal.SIGTERM)
        theirs = Kernel(STORE, chunk, 'PO' if number == 1 else 'P')
        assert theirs.status() == counted, 'lincow said %s, the kernel says %s' % (counted, theirs.status())
        compare(theirs.read(), model, 'the kernel, round %d' % number)
        change(theirs, model)
        counted = theirs.status()
        if number == 0:
            refused = run(lincow, 'serve', STORE, '--origin', ORIGIN, '--nbd', 'unix:' + SOCKET, status=1)
            assert 'in use' in refused, refused
        theirs.end()
        check(STORE)
        assert status_at_rest(STORE) == counted, 'the kernel said %s, lincow says %s' % (counted, status_at_rest(STORE))
    print('%d sectors a chunk: %d rounds, at the end %s' % (chunk, ROUNDS, counted))
    return model


def file_system(chunk, model):
    """What mkfs wrote through the kernel is whole through lincow."""
    theirs = Kernel(STORE, chunk)
    run('mkfs.ext4', '-q', '-F', SNAP)
    theirs.flush()
    model[:] = theirs.read()
    theirs.end()
    ours = Lincow(STORE)
    content = ours.read()
    compare(content, model, 'lincow after mkfs')
    ours.end()
    with open('/tmp/copy.img', 'wb') as copy:
        copy.write(content)
    run('e2fsck', '-fn', '/tmp/copy.img')


def live_origin(chunk, model):
    """Each of the two keeps for the store what is overwritten in the origin."""
    run('dmsetup', 'create', 'base', '--table', '0 %d snapshot-origin %s' % (len(base) // 512, ORIGIN))
    theirs = Kernel(STORE, chunk)
    with open('/dev/mapper/base', 'r+b', buffering=0) as live:
        for _ in range(60):
            at = random.randrange(len(base) // 512) * 512
            content = random.randbytes(min(4096, len(base) - at))
            live.seek(at)
            live.write(content)
            base[at:at + len(content)] = content
        os.fsync(live.fileno())
    theirs.end()
    run('dmsetup', 'remove', 'base')
    compare(read_device(ORIGIN), base, 'the live origin')
    ours = Lincow(STORE)
    compare(ours.read(), model, "lincow over the kernel's live origin")
    ours.end()
    server = subprocess.Popen([lincow, 'serve', '--snapshot-origin', ORIGIN, STORE, '--nbd', 'unix:' + SOCKET], stdout=subprocess.PIPE, text=True)
    for _ in range(2):
        assert server.stdout.readline().startswith('ready '), 'lincow serves no live origin'
    live = nbd.NBD()
    live.set_export_name(os.path.basename(ORIGIN))
    live.connect_unix(SOCKET)
    for _ in range(60):
        at = random.randrange(len(base) // 512) * 512
        content = random.randbytes(min(4096, len(base) - at))
        live.pwrite(content, at)
        base[at:at + len(content)] = content
    live.flush()
    live.shutdown()
    server.terminate()
    assert server.wait() == 0, 'lincow ended with %d' % server.returncode
    compare(read_device(ORIGIN), base, "lincow's live origin")
    theirs = Kernel(STORE, chunk)
    compare(theirs.read(), model, "the kernel over lincow's live origin")
    theirs.end()


def reset(chunk):
    run(lincow, 'reset', STORE)
    theirs = Kernel(STORE, chunk)
    compare(theirs.read(), base, 'the kernel after a reset')
    assert theirs.status().split()[3].split('/')[0] == theirs.status().split()[4], 'it is not empty: ' + theirs.status()
    model = bytearray(base)
    change(theirs, model, 20)
    theirs.end()
    return model


def merge(chunk, model):
    theirs = Kernel(STORE, chunk, target='snapshot-merge')
    while theirs.status().split()[3].split('/')[0] != theirs.status().split()[4]:
        assert 'failed' not in theirs.status(), theirs.status()
    theirs.end()
    compare(read_device(ORIGIN), model, 'the origin after the kernel merged')
    base[:] = model
    ours = Lincow(STORE)
    assert ours.status().split()[3].split('/')[0] == ours.status().split()[4], 'it is not empty: ' + ours.status()
    compare(ours.read(), base, 'lincow after the kernel merged')
    ours.end()


def commit(chunk, model):
    run(lincow, 'commit', STORE, '--origin', ORIGIN)
    compare(read_device(ORIGIN), model, 'the origin after a commit')
    base[:] = model
    theirs = Kernel(STORE, chunk)
    assert theirs.status().split()[3].split('/')[0] == theirs.status().split()[4], 'it is not empty: ' + theirs.status()
    compare(theirs.read(), base, 'the kernel after a commit')
    theirs.end()


def fill(who, model, chunk):
    """New chunks until one is refused; returns how many were taken, and the error's number."""
    for number in range(len(model) // (chunk * 512)):
        at, content = number * chunk * 512, random.randbytes(512)
        try:
            who.write(at, content)
            who.flush()
        except nbd.Error as error:
            return number, error.errnum
        except OSError as error:
            return number, error.errno
        model[at:at + 512] = content
    raise AssertionError('the store is never full')


def full():
    chunk = 8
    # Filled by the kernel as PO: what it took is there, in lincow too, which takes no more either, but goes on with the chunks that it has.
    model = bytearray(base)
    create(SMALL, chunk)
    theirs = Kernel(SMALL, chunk, 'PO')
    taken, error = fill(theirs, model, chunk)
    assert error in (errno.EIO, errno.ENOSPC), os.strerror(error)
    assert theirs.status().endswith(' Overflow'), theirs.status()
    theirs.end()
    ours = Lincow(SMALL)
    compare(ours.read(), model, 'lincow after PO')
    assert fill(Shifted(ours, taken * chunk * 512), bytearray(len(model) - taken * chunk * 512), chunk) == (0, errno.ENOSPC), 'a full store took a chunk'
    ours.write(512, b'x' * 512)
    model[512:1024] = b'x' * 512
    ours.end()
    theirs = Kernel(SMALL, chunk, 'P')
    compare(theirs.read(), model, 'the kernel, of a full store')
    theirs.end()
    # Filled by lincow.
    model = bytearray(base)
    create(SMALL, chunk)
    ours = Lincow(SMALL)
    assert fill(ours, model, chunk) == (taken, errno.ENOSPC), 'lincow has not the room that the kernel has'
    assert ours.status().endswith(' Overflow'), ours.status()
    ours.end()
    counted = status_at_rest(SMALL)
    theirs = Kernel(SMALL, chunk, 'P')
    assert theirs.status() == counted, 'lincow said %s, the kernel says %s' % (counted, theirs.status())
    compare(theirs.read(), model, 'the kernel, of a store that lincow filled')
    # And given up by the kernel as P.
    assert fill(Shifted(theirs, taken * chunk * 512), bytearray(len(model) - taken * chunk * 512), chunk)[0] == 0
    assert theirs.status().endswith(' Invalid'), theirs.status()
    theirs.end()
    assert status_at_rest(SMALL).endswith(' Invalid'), status_at_rest(SMALL)
    assert 'given up' in run(lincow, 'serve', SMALL, '--origin', ORIGIN, '--nbd', 'unix:' + SOCKET, status=1)
    ours = Lincow(SMALL, '--read-only', '--rescue')
    compare(ours.read(), model, 'a rescue')
    ours.end()
    run(lincow, 'reset', SMALL)
    theirs = Kernel(SMALL, chunk, 'P')
    compare(theirs.read(), base, 'the kernel, of a store that was given up and reset')
    theirs.end()
    # lincow gives one up, as P does.
    ours = Lincow(SMALL, '--give-up-when-full')
    assert fill(ours, model, chunk)[0] == taken, 'P has not the room that PO has'
    ours.end()
    assert status_at_rest(SMALL).endswith(' Invalid'), status_at_rest(SMALL)
    # The kernel takes such a store, and says what it is.
    theirs = Kernel.__new__(Kernel)
    dmsetup_create(SMALL, chunk)
    assert theirs.status().endswith(' Invalid'), theirs.status()
    run('dmsetup', 'remove', 'snap')
    print('full: %d chunks' % taken)


class Shifted:
    def __init__(self, who, by):
        self.who, self.by, self.flush = who, by, who.flush

    def write(self, at, content):
        self.who.write(at + self.by, content)


def left_over():
    """
    A power cut that tore the last write to an area: its second sector is there, what the first should have got isn't. For both that is behind the
    list's end. The kernel, when it goes on, fills the gap, and then takes the left-over up; unless lincow has cleared it before.
    """
    chunk, held, gap = 8, 10, 22
    for is_repaired in (False, True):
        model = bytearray(base)
        create(SMALL, chunk)
        ours = Lincow(SMALL)
        for number in range(held):
            ours.write(number * 4096, b'\1' * 4096)
            model[number * 4096:(number + 1) * 4096] = b'\1' * 4096
        ours.end()
        with open(SMALL, 'r+b') as file:
            file.seek(chunk * 512 + 512)
            file.write((100).to_bytes(8, 'little') + (2).to_bytes(8, 'little'))
            os.fsync(file.fileno())
        if is_repaired:
            run(lincow, 'check', SMALL, '--origin', ORIGIN, '--repair')
        theirs = Kernel(SMALL, chunk)
        compare(theirs.read(), model, 'the kernel, before a left-over')
        for number in range(held, held + gap):
            theirs.write(number * 4096, b'\2' * 4096)
            model[number * 4096:(number + 1) * 4096] = b'\2' * 4096
        theirs.flush()
        theirs.end()
        theirs = Kernel(SMALL, chunk)
        if not is_repaired:
            model[100 * 4096:101 * 4096] = b'\1' * 4096
        compare(theirs.read(), model, 'the kernel, of a repaired store' if is_repaired else 'the kernel, of a left-over that it took up')
        theirs.end()
    print('left-over: taken up by the kernel, unless it was cleared')


base = bytearray(read_device(ORIGIN))
for part in sys.argv[3:]:
    if part == 'full':
        full()
    elif part == 'left-over':
        left_over()
    else:
        chunk = int(part)
        model = rounds(chunk)
        if chunk == 8:
            file_system(chunk, model)
            live_origin(chunk, model)
        model = reset(chunk)
        if chunk < 16:
            merge(chunk, model)
        else:
            commit(chunk, model)
    print('done ' + part)
