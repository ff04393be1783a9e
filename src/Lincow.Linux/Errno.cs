using System.Runtime.InteropServices;

namespace Lincow.Linux;

/// <summary>The error numbers that lincow names, as in <c>asm-generic/errno-base.h</c> and <c>errno.h</c>.</summary>
internal static class Errno
{
    public const int Perm = 1;
    public const int NoEntry = 2;
    public const int Interrupted = 4;
    public const int IO = 5;
    public const int NoSuchAddress = 6;
    public const int BadFile = 9;
    public const int Again = 11;
    public const int NoMemory = 12;
    public const int Access = 13;
    public const int Fault = 14;
    public const int Busy = 16;
    public const int Exists = 17;
    public const int NoSuchDevice = 19;
    public const int NotDirectory = 20;
    public const int IsDirectory = 21;
    public const int Invalid = 22;
    public const int TooManyFilesOfSystem = 23;
    public const int TooManyFiles = 24;
    public const int NotTypewriter = 25;
    public const int FileTooBig = 27;
    public const int NoSpace = 28;
    public const int ReadOnlyFileSystem = 30;
    public const int Pipe = 32;
    public const int NameTooLong = 36;
    public const int NoLocks = 37;
    public const int NoSystemCall = 38;

    // A disk's "critical medium error".
    public const int NoData = 61;
    public const int Protocol = 71;
    public const int Overflow = 75;
    public const int NotUtf8 = 84;
    public const int NotSupported = 95;
    public const int AddressInUse = 98;
    public const int ConnectionAborted = 103;
    public const int ConnectionReset = 104;
    public const int Shutdown = 108;
    public const int ConnectionRefused = 111;
    public const int Quota = 122;
    public const int Canceled = 125;

    /// <summary>Whether a negative result says that there was no room.</summary>
    public static bool IsLackOfSpace(int result) => result is -NoSpace or -Quota;

    /// <summary>The system's sentence for an error number, for example "No space left on device".</summary>
    public static string Describe(int errno) => Marshal.GetPInvokeErrorMessage(errno);
}

/// <summary>A system call that failed: the call, the file it was about and the error number.</summary>
internal sealed class LinuxException : IOException
{
    private readonly string _call;

    public LinuxException(string call, string subject, int errno)
        : base($"{subject}: {call}: {Linux.Errno.Describe(errno)}")
    {
        Call = call;
        Errno = errno;
        Subject = subject;
        _call = call;
    }

    /// <summary>The system call, or what it was to do.</summary>
    public string Call { get; }

    /// <summary>The positive error number.</summary>
    public int Errno { get; }

    /// <summary>The file, device or address that the call was about.</summary>
    public string Subject { get; }

    /// <summary>
    /// The system's sentence for <see cref="Errno"/>; with the call, where nothing but a filter of system calls (seccomp) says so.
    /// </summary>
    public string Reason => Errno == Linux.Errno.NoSystemCall || (Errno == Linux.Errno.Perm && _call == "statx")
        ? $"{Linux.Errno.Describe(Errno)} (the system call {_call} is refused, by a seccomp profile for example)"
        : Linux.Errno.Describe(Errno);
}
