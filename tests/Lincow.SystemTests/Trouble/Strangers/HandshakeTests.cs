using System.Text;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Strangers;

/// <summary>Clients that get the handshake wrong. After each, the server serves others and stops cleanly.</summary>
public class HandshakeTests
{
    [Theory]
    [InlineData(0xffffffffu)]
    [InlineData(4u)]
    [InlineData(0x80000003u)]
    public void Unknown_client_flags_close_the_connection(uint flags) => Meet(uri =>
    {
        using var client = new RawClient(uri);
        client.Greet(flags);
        client.AssertClosed();
    });

    [Fact]
    public void A_client_that_is_not_fixed_newstyle_gets_the_export_by_name_and_nothing_else() => Meet(uri =>
    {
        using var old = new RawClient(uri);
        old.Greet(0);
        old.Option(RawClient.ExportName, "work"u8.ToArray());
        // Size, flags and 124 zeroes, since it didn't say that it can do without them.
        Assert.All(old.Receive(134)[10..], value => Assert.Equal(0, value));
        old.AssertAlive();
        using var wrong = new RawClient(uri);
        wrong.Greet(0);
        wrong.Option(RawClient.List, []);
        wrong.AssertClosed();
    });

    [Fact]
    public void A_wrong_option_magic_closes_the_connection() => Meet(uri =>
    {
        using var client = new RawClient(uri);
        client.Greet(RawClient.FixedNewstyle);
        client.Option(RawClient.List, [], magic: 0x1234567812345678);
        client.AssertClosed();
    });

    [Fact]
    public void An_unknown_option_is_refused_and_the_handshake_goes_on() => Meet(uri =>
    {
        using var client = new RawClient(uri);
        client.Greet(RawClient.FixedNewstyle | RawClient.NoZeroes);
        foreach (var option in new uint[] { 0, 4, 99, 0xffffffff })
        {
            client.Option(option, new byte[100]);
            Assert.Equal(RawClient.Unsupported, client.OptionReply(option));
        }
        client.Option(RawClient.ExportName, []);
        client.Receive(10);
        client.AssertAlive();
    });

    [Fact]
    public void StartTls_is_refused_by_a_server_without_it() => Meet(uri =>
    {
        using var client = new RawClient(uri);
        client.Greet(RawClient.FixedNewstyle | RawClient.NoZeroes);
        client.Option(RawClient.StartTls, []);
        Assert.Equal(RawClient.Policy, client.OptionReply(RawClient.StartTls));
        client.Option(RawClient.ExportName, []);
        client.Receive(10);
        client.AssertAlive();
    });

    [Theory]
    [InlineData(0xffffffffu)]
    [InlineData(0x7fffffffu)]
    [InlineData(2u << 20)]
    public void An_option_that_claims_a_huge_length_closes_the_connection(uint length) => Meet(uri =>
    {
        using var client = new RawClient(uri);
        client.Greet(RawClient.FixedNewstyle);
        client.Option(RawClient.Go, [], length);
        client.AssertClosed();
    });

    [Fact]
    public void A_long_option_is_too_big_and_the_handshake_goes_on() => Meet(uri =>
    {
        using var client = new RawClient(uri);
        client.Greet(RawClient.FixedNewstyle | RawClient.NoZeroes);
        client.Option(RawClient.Go, new byte[500 << 10]);
        Assert.Equal(RawClient.TooBig, client.OptionReply(RawClient.Go));
        client.Option(RawClient.ExportName, []);
        client.Receive(10);
        client.AssertAlive();
    });

    [Theory]
    [InlineData(RawClient.Go)]
    [InlineData(RawClient.Info)]
    [InlineData(RawClient.SetMetaContext)]
    public void An_option_whose_lengths_do_not_add_up_is_invalid(uint option) => Meet(uri =>
    {
        using var client = new RawClient(uri);
        client.Greet(RawClient.FixedNewstyle | RawClient.NoZeroes);
        client.Option(RawClient.StructuredReply, []);
        Assert.Equal(RawClient.Ack, client.OptionReply(RawClient.StructuredReply));
        byte[][] nonsense =
        [
            [],
            [0, 0, 0],
            [0xff, 0xff, 0xff, 0xff],
            [0, 0, 0, 1, (byte)'a', 0xff, 0xff],
            [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            [0, 0, 0, 0, 0, 1],
            [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, (byte)'x'],
        ];
        foreach (var data in nonsense)
        {
            client.Option(option, data);
            Assert.Equal(RawClient.Invalid, client.OptionReply(option));
        }
        client.Option(RawClient.ExportName, []);
        client.Receive(10);
    });

    [Fact]
    public void Half_a_handshake_and_silence_harms_nobody() => Meet(uri =>
    {
        List<RawClient> silent = [];
        // One that never reads the greeting, one that stops amid the flags, one amid an option's header, one amid its data.
        silent.Add(new RawClient(uri));
        silent.Add(new RawClient(uri));
        silent[1].Send([0, 0]);
        silent.Add(new RawClient(uri));
        silent[2].Greet(RawClient.FixedNewstyle);
        silent[2].Send([.. "IHAVEOP"u8]);
        silent.Add(new RawClient(uri));
        silent[3].Greet(RawClient.FixedNewstyle);
        silent[3].Option(RawClient.Go, new byte[10], length: 20);
        AssertServes(uri);
        return () => silent.ForEach(client => client.Dispose());
    });

    [Fact]
    public void Options_that_nobody_reads_the_replies_of_harm_nobody() => Meet(uri =>
    {
        var client = new RawClient(uri);
        client.Greet(RawClient.FixedNewstyle);
        Assert.True(client.Flood([.. "IHAVEOPT"u8, 0, 0, 0, 3, 0, 0, 0, 0]) > 0);
        AssertServes(uri);
        return client.Dispose;
    });

    [Fact]
    public void Noise_of_every_kind_closes_the_connection_or_is_refused() => Meet(uri =>
    {
        const int seed = 4711;
        var random = new Random(seed);
        for (var i = 0; i < 100; i++)
        {
            using var client = new RawClient(uri);
            client.Greet(RawClient.FixedNewstyle);
            var noise = new byte[random.Next(1, 3000)];
            random.NextBytes(noise);
            if (i % 2 == 0)
                client.Option((uint)random.Next(12), noise);
            else
                client.Send(noise);
        }
        AssertServes(uri);
    });

    [Fact]
    public void A_web_browser_gets_no_further_than_the_greeting() => Meet(uri =>
    {
        using var client = new RawClient(uri);
        client.Send(Encoding.ASCII.GetBytes("GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.0\r\nAccept: */*\r\n\r\n"));
        client.AssertClosed();
    });

    internal static void AssertServes(string uri)
    {
        using var client = RawClient.Ready(uri);
        client.AssertAlive();
        Assert.Equal(0u, client.Ask(RawClient.Write, 4096, 512, new byte[512]).Error);
        Assert.Equal(0u, client.Ask(RawClient.Flush, 0, 0).Error);
    }

    internal static void Meet(Action<string> guest) => Meet(uri =>
    {
        guest(uri);
        return () => { };
    });

    /// <summary>
    /// Lets a guest in; afterwards others are still served, and the server still stops on SIGTERM, with the guest still connected.
    /// </summary>
    internal static void Meet(Func<string, Action> guest, params string[] serve)
    {
        using var served = new ServedOverlay(serve: serve);
        var leave = guest(served.Uri);
        try
        {
            AssertServes(served.Uri);
            served.Stop();
        }
        finally
        {
            leave();
        }
        Assert.True(Cli.Info(served.Overlay).Clean);
        Assert.Empty(Cli.Check(served.Overlay).Findings);
    }
}
