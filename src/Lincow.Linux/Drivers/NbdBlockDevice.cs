using System.Buffers.Binary;
using System.Globalization;

namespace Lincow.Linux;

/// <summary>
/// Block devices of the kernel's NBD client, set up by netlink (linux/nbd-netlink.h): the kernel gets one end of connected sockets whose
/// other ends are served. A device outlives its server: while no socket is alive requests wait, and new sockets take over.
/// </summary>
internal static class NbdBlockDevice
{
    private const string Family = "nbd";
    private const byte Version = 1, CommandConnect = 1, CommandDisconnect = 2, CommandReconfigure = 3;
    private const ushort Index = 1, SizeBytes = 2, BlockSizeBytes = 3, RequestTimeout = 4, ServerFlags = 5, ClientFlags = 6,
        Sockets = 7, DeadConnectionTimeout = 8, BackendIdentifier = 10;
    private const ulong DisconnectOnClose = 2;
    private const ushort SocketItem = 1, SocketDescriptor = 1;

    /// <summary>
    /// Milliseconds until the kernel looks whether a request lies on a dead connection that has been replaced. Of a device with one
    /// connection, and no time for requests, it does no more than look.
    /// </summary>
    private const string LookAfterMilliseconds = "3000";

    /// <summary>The longest request; the kernel's own default of 128 KiB cuts what is sequential into small pieces.</summary>
    private const string MaxRequestKilobytes = "1024";

    /// <summary>Why there can be no such device; null when there can.</summary>
    public static string? WhyNot()
    {
        if (!LinuxProcess.IsMachineRoot)
            return "a block device takes root";
        try
        {
            GenericNetlink.Open(Family, Version).Dispose();
            return null;
        }
        catch (LinuxException e)
        {
            return e.Errno == Errno.NoEntry ? "the kernel's NBD client isn't there (modprobe nbd)" : e.Message;
        }
    }

    /// <summary>Makes a device; returns its path. Throws <see cref="LinuxException"/>.</summary>
    /// <param name="sockets">The kernel's ends; the caller may close them afterwards.</param>
    /// <param name="sizeBytes">The device's size.</param>
    /// <param name="sectorBytes">Its logical sectors.</param>
    /// <param name="serverFlags">The protocol's transmission flags.</param>
    /// <param name="patienceSeconds">How long requests wait while no connection is alive, before they fail.</param>
    /// <param name="canResume">
    /// Whether somebody may give it a new socket. Otherwise requests fail at once when the connection breaks, and those that are on their
    /// way then, or aren't answered, after that time.
    /// </param>
    /// <param name="identifier">What the device is known by; only who knows it may give it new sockets.</param>
    public static string Connect(IReadOnlyList<int> sockets, long sizeBytes, int sectorBytes, ushort serverFlags, ulong patienceSeconds,
        bool canResume, string identifier)
    {
        using var netlink = GenericNetlink.Open(Family, Version);
        var answer = netlink.Ask(CommandConnect, message => message
            .Add(SizeBytes, (ulong)sizeBytes)
            .Add(BlockSizeBytes, (ulong)sectorBytes)
            .Add(ServerFlags, (ulong)serverFlags)
            // mutation: real-nbd-has-no-patience
            .Add(canResume ? DeadConnectionTimeout : RequestTimeout, patienceSeconds)
            .Add(BackendIdentifier, identifier)
            .Nest(Sockets, list => AddSockets(list, sockets)));
        var name = string.Create(CultureInfo.InvariantCulture, $"nbd{BinaryPrimitives.ReadUInt32LittleEndian(answer[Index])}");
        // Without a node it is of no use, and goes again.
        try
        {
            DeviceNode.Need("/dev/" + name);
        }
        catch
        {
            Disconnect(name);
            throw;
        }
        // Without these it is slower, or slower to recover.
        if (canResume)
            TrySetQueue(name, "io_timeout", LookAfterMilliseconds);
        TrySetQueue(name, "max_sectors_kb", MaxRequestKilobytes);
        return "/dev/" + name;
    }

    /// <summary>
    /// Gives a device new sockets in place of dead ones, and the size that it has now. Those that take no place are closed by the kernel.
    /// Throws
    /// <see cref="LinuxException"/>.
    /// </summary>
    public static void Reconnect(string device, IReadOnlyList<int> sockets, long sizeBytes, string identifier)
    {
        using var netlink = GenericNetlink.Open(Family, Version);
        netlink.Ask(CommandReconfigure, message => message
            .Add(Index, IndexOf(device))
            .Add(SizeBytes, (ulong)sizeBytes)
            .Add(BackendIdentifier, identifier)
            .Nest(Sockets, list => AddSockets(list, sockets)));
    }

    /// <summary>
    /// Ends a device unless somebody has it open, by whatever node: the kernel ends it when the one descriptor that is here is closed, if
    /// that was the last. False when it wasn't. Throws <see cref="LinuxException"/>.
    /// </summary>
    /// <param name="claim">Is closed.</param>
    /// <param name="identifier">What it was made with.</param>
    public static bool TryDisconnect(LinuxFile claim, string identifier)
    {
        // mutation: real-nbd-taken-from-its-holder
        Ask(claim.Path, identifier, DisconnectOnClose);
        claim.Dispose();
        if (Find(identifier) is not { } kept)
            return true;
        try
        {
            // Nor may it go when they close it.
            Ask(kept, identifier, 0);
        }
        catch (LinuxException e) when (e.Errno == Errno.Invalid && Find(identifier) is null)
        {
            // They have, meanwhile.
            return true;
        }
        return false;

        static void Ask(string device, string identifier, ulong flags)
        {
            using var netlink = GenericNetlink.Open(Family, Version);
            netlink.Ask(CommandReconfigure, message => message
                .Add(Index, IndexOf(device))
                .Add(ClientFlags, flags)
                .Add(BackendIdentifier, identifier));
        }
    }

    /// <summary>Ends a device; requests that wait fail. It lasts until nobody has it open. Throws <see cref="LinuxException"/>.</summary>
    public static void Disconnect(string device)
    {
        using var netlink = GenericNetlink.Open(Family, Version);
        netlink.Ask(CommandDisconnect, message => message.Add(Index, IndexOf(device)));
    }

    /// <summary>The device of this identifier; null when there is none.</summary>
    public static string? Find(string identifier)
    {
        foreach (var directory in Directory.EnumerateDirectories("/sys/block", "nbd*"))
        {
            try
            {
                if (File.ReadAllText(directory + "/backend").TrimEnd('\n') == identifier)
                    return "/dev/" + Path.GetFileName(directory);
            }
            catch (IOException)
            {
                // Not in use.
            }
        }
        return null;
    }

    /// <summary>Connections that a device was made with.</summary>
    public static int ConnectionCount(string device) => Directory.GetDirectories($"/sys/block/{Path.GetFileName(device)}/mq").Length;

    private static void AddSockets(NetlinkMessage list, IReadOnlyList<int> sockets)
    {
        foreach (var socket in sockets)
            list.Nest(SocketItem, item => item.Add(SocketDescriptor, (uint)socket));
    }

    private static uint IndexOf(string device) => uint.Parse(Path.GetFileName(device).AsSpan(Family.Length), CultureInfo.InvariantCulture);

    private static void TrySetQueue(string name, string attribute, string value)
    {
        try
        {
            File.WriteAllText($"/sys/block/{name}/queue/{attribute}", value);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A read-only /sys, as in containers.
        }
    }
}
