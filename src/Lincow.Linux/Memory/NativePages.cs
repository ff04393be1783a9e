namespace Lincow.Linux;

/// <summary>Zero-filled address space that takes memory only where it is touched (mmap, MAP_NORESERVE).</summary>
internal static unsafe class NativePages
{
    public static nint Reserve(nuint byteCount) =>
        TryReserve(byteCount) is var address and not 0
            ? address : throw new LinuxException("mmap", $"{byteCount} bytes of address space", Libc.LastError);

    /// <summary>As <see cref="Reserve"/>; 0 when there is none.</summary>
    public static nint TryReserve(nuint byteCount)
    {
        var address = Libc.mmap(0, byteCount, Libc.ProtRead | Libc.ProtWrite, Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve, -1,
            0);
        return address != -1 ? address : 0;
    }

    /// <summary>Address space alone, which nothing may touch yet and no limit on memory counts; 0 when there is none.</summary>
    public static nint TryReserveClosed(nuint byteCount)
    {
        var address = Libc.mmap(0, byteCount, 0, Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve, -1, 0);
        return address != -1 ? address : 0;
    }

    /// <summary>Lets a part of it be used; false when the system lacks memory.</summary>
    public static bool TryOpen(nint address, nuint byteCount) => Libc.mprotect(address, byteCount, Libc.ProtRead | Libc.ProtWrite) == 0;

    /// <summary>Gives back what the pages hold; they are zero again. Also for locked pages, where MADV_DONTNEED would be refused.</summary>
    public static void Clear(nint address, nuint byteCount)
    {
        if (Libc.mmap(address, byteCount, Libc.ProtRead | Libc.ProtWrite,
            Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve | Libc.MapFixed, -1, 0) == -1)
            throw new LinuxException("mmap", $"{byteCount} bytes of address space", Libc.LastError);
    }

    public static void Release(nint address, nuint byteCount) => _ = Libc.munmap(address, byteCount);
}
