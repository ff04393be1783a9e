using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>Waits for single operations: the control plane's way to read and write superblocks and map pages.</summary>
internal static class BlobWait
{
    private const int WriteAttempts = 3;

    public static int ReadNow(this IReadableBlob blob, long byteOffset, NativeBuffer buffer, int byteCount)
    {
        var operation = new Waiter();
        blob.Read(byteOffset, buffer.Address, byteCount, operation);
        return operation.Await(blob);
    }

    public static int WriteNow(this IBlob blob, long byteOffset, NativeBuffer buffer, int byteCount)
    {
        var operation = new Waiter();
        blob.Write(byteOffset, buffer.Address, byteCount, operation);
        return operation.Await(blob);
    }

    /// <summary>
    /// As <see cref="WriteNow"/>, for what may be written again, the same bytes at the same place, when that fails: an error that passes is
    /// none. No sync comes between, for after one that failed nothing may be tried again.
    /// </summary>
    public static int WriteUntilItSucceeds(this IBlob blob, long byteOffset, NativeBuffer buffer, int byteCount)
    {
        var result = 0;
        for (var attempt = 0; attempt < WriteAttempts; attempt++)
        {
            result = blob.WriteNow(byteOffset, buffer, byteCount);
            if (result == 0 || Errno.IsLackOfSpace(result))
                break;
        }
        return result;
    }

    public static int PunchHoleNow(this IBlob blob, long byteOffset, long byteLength)
    {
        var operation = new Waiter();
        blob.PunchHole(byteOffset, byteLength, operation);
        return operation.Await(blob);
    }

    public static int FindRunsNow(this IReadableBlob blob, long byteOffset, long byteEnd, BlobRuns runs)
    {
        var operation = new Waiter();
        blob.FindRuns(byteOffset, byteEnd, runs, operation);
        return operation.Await(blob);
    }

    public static int FlushNow(this IBlob blob)
    {
        var operation = new Waiter();
        blob.Flush(operation);
        return operation.Await(blob);
    }

    private sealed class Waiter : BlobOperation
    {
        private int? _result;

        public override void End(int result) => _result = result;

        public int Await(IReadableBlob blob)
        {
            while (_result is null)
                blob.Turn();
            return _result.Value;
        }
    }
}
