using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Failures;

/// <summary>
/// File systems that can't do what others can. User-mode Linux's hostfs has no files without a name, nor extended attributes.
/// </summary>
public class UnnamedFileTests
{
    [Fact]
    public void A_transient_overlay_leaves_nothing_behind_where_every_file_has_a_name()
    {
        using var scratch = new Scratch();
        UserModeLinux.Run(scratch, """
            cd /tmp; d=/run/share/d; mkdir $d; dd if=/dev/urandom of=o.img bs=64k count=16 status=none
            io='qemu-io -f raw -c "write -P 7 0 64k" -c "read -P 7 0 64k" "$LINCOW_URI"'
            lincow run --no-device --overlay $d --origin o.img -- sh -c "$io" >log
            ! grep failed log
            [ -z "$(ls -A $d)" ]
            lincow serve --origin o.img --overlay $d --nbd unix:/tmp/s >ready & server=$!
            until grep -q ready ready; do sleep 0.1; done
            [ -z "$(ls -A $d)" ]
            kill -9 $server
            while kill -0 $server 2>/dev/null; do sleep 0.1; done
            [ -z "$(ls -A $d)" ]
            lincow create $d/w.cow --map $d/elsewhere --origin o.img 2>said
            grep "no extended attributes here .* Give it each time: --map $d/elsewhere" said
            lincow run --no-device $d/w.cow --map $d/elsewhere -- true
            """);
    }
}
