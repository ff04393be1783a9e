using System.Text;

namespace Lincow.Linux;

/// <summary>Directories of this user's alone, for sockets to which other programs connect.</summary>
internal static unsafe class SocketDirectory
{
    /// <summary>As mkdtemp(3) makes them up.</summary>
    private const string MadeUp = "XXXXXX";

    /// <summary>
    /// Makes one: in $TMPDIR, or in /tmp where a socket's path would be too long for the programs that connect. Throws
    /// <see cref="LinuxException"/>.
    /// </summary>
    /// <param name="prefix">What its name begins with.</param>
    /// <param name="socket">The name of the socket in it.</param>
    /// <param name="temporary">Instead of $TMPDIR.</param>
    public static string Make(string prefix, string socket, string? temporary = null)
    {
        var named = Path.Combine(temporary ?? Path.GetTempPath(), prefix + MadeUp);
        // mutation: socket-where-nobody-can-connect
        if (!UnixAddress.Fits(Path.Combine(named, socket)))
            named = Path.Combine("/tmp", prefix + MadeUp);
        var template = Encoding.UTF8.GetBytes(named + "\0");
        fixed (byte* name = template)
        {
            if (Libc.mkdtemp(name) is null)
                throw new LinuxException("mkdtemp", named, Libc.LastError);
        }
        return Encoding.UTF8.GetString(template, 0, template.Length - 1);
    }
}
