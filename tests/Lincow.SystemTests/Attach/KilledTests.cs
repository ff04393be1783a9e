using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Attach;

/// <summary>Servers that are killed at bad moments. What becomes of ublk's is in tests/guest/attach-way.</summary>
public class KilledTests
{
    /// <summary>
    /// The disk's first sectors take two seconds, so that the kernel is still looking for partitions when the server is killed; then
    /// whoever goes on, by attach or by detach --stale, isn't kept waiting.
    /// </summary>
    [Fact]
    public void A_server_that_is_killed_while_the_kernel_looks_at_its_new_device_leaves_nothing_for_good()
    {
        using var scratch = new Scratch();
        Tool.Find("dmsetup");
        UserModeLinux.Run(scratch, """
            cd /tmp
            modprobe -a nbd loop dm-mod dm-delay
            head -c 4M /dev/urandom >o.img; lo=$(losetup -f --show o.img)
            printf '0 8 delay %s 0 2000\n8 8184 linear %s 8\n' $lo $lo | dmsetup create slow; dmsetup mknodes
            lincow create w.cow --origin /dev/mapper/slow --quiet
            for next in attach stale; do
                while [ ! -e stop ]; do echo 3 >/proc/sys/vm/drop_caches; done & dropper=$!
                lincow attach w.cow --via nbd --foreground >out 2>err & server=$!
                until [ "$(cat /sys/block/nbd0/size)" != 0 ]; do :; done
                # It has opened the device: the kernel is at it.
                until pgrep -f '^/bin/sh -c : <"\$0" /dev/nbd0' >/dev/null || [ -s out ]; do :; done
                [ ! -s out ] || { echo "too fast to show anything"; exit 1; }
                kill -9 $server
                touch stop; wait $dropper; rm stop
                timeout 30 tail --pid=$server -f /dev/null || { echo "the killed server doesn't end: $(cat /proc/$server/stat)"; exit 1; }
                if [ $next = stale ]; then timeout 30 lincow detach --stale; fi
                timeout 30 lincow attach w.cow --via nbd >out 2>err || { cat err; exit 1; }
                dd if=$(tail -n 1 out) bs=1M count=4 iflag=direct status=none | cmp - o.img
                timeout 30 lincow detach w.cow --wait 15 --quiet
                [ -z "$(lincow status)" ] && [ "$(cat /sys/block/nbd*/size | sort -u)" = 0 ]
            done
            """);
    }
}
