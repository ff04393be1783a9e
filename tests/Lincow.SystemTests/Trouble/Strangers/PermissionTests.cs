using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Strangers;

/// <summary>What lincow makes is its user's alone, whatever the umask allows.</summary>
public class PermissionTests
{
    private const string Mode0600 = "600";

    [Fact]
    public void Overlays_and_maps_are_made_0600()
    {
        using var scratch = new Scratch();
        Shell($"umask 0; '{Cli.Binary}' create '{scratch["front.cow"]}' --origin zero:1M --quiet; '{Cli.Binary}' create "
            + $"'{scratch["a.img"]}' --map '{scratch["a.map"]}' --origin zero:1M --quiet");
        foreach (var path in new[] { scratch["front.cow"], scratch["a.img"], scratch["a.map"] })
            Assert.Equal(Mode0600, Mode(path));
    }

    [Fact]
    public void Sockets_are_made_0600()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        Shell($$"""
            umask 0
            '{{Cli.Binary}}' serve '{{scratch["o.cow"]}}' --nbd 'unix:{{scratch["s"]}}' >'{{scratch["ready"]}}' &
            for i in $(seq 100); do grep -q ready '{{scratch["ready"]}}' && break; sleep 0.05; done
            stat -c %a '{{scratch["s"]}}' >'{{scratch["mode"]}}'
            kill $!; wait $!
            """);
        Assert.Equal(Mode0600, File.ReadAllText(scratch["mode"]).Trim());
    }

    [Fact]
    public void The_private_socket_of_run_and_transient_data_are_out_of_others_reach()
    {
        using var scratch = new Scratch();
        // The socket's directory is closed to others as well; the data has no name, and its mode shows through the descriptor.
        Shell($$"""
            umask 0
            TMPDIR='{{scratch.Directory}}' '{{Cli.Binary}}' run --origin zero:1M -- sh -c '
                socket=${LINCOW_URI#*socket=}
                stat -c %a "$socket" "$(dirname "$socket")" >"{{scratch["modes"]}}"
                for d in /proc/$PPID/fd/*; do
                    case $(readlink $d) in {{scratch.Directory}}/*deleted*) stat -L -c %a $d >>"{{scratch["modes"]}}";; esac
                done'
            """);
        Assert.Equal([Mode0600, "700", Mode0600], File.ReadAllLines(scratch["modes"]));
    }

    private static string Mode(string path) => Tool.Ok("stat", "-c", "%a", path).Trim();

    private static void Shell(string script) => Tool.Ok("sh", "-c", script);
}
