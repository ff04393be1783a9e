using System.Diagnostics;
using Lincow.Linux;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>
/// The replies of one connection on their way: queued as requests end, gathered into one message a turn, sent piece by piece as the client
/// takes them. Invariants: at most one send in flight; a request's memory is given back when its reply has been sent, or never will be.
/// </summary>
internal sealed unsafe class NbdSender(IoLoop loop, int socket, NbdReplyEncoder encoder, NbdTransmission owner, MessageHeader* message,
    int maxVectors)
{
    private readonly IoVector* _vectors = (IoVector*)(message + 1);
    private readonly SendCompletion _send = new(owner);
    private readonly SendKick _kick = new(owner);
    private NbdRequest? _head, _tail, _sending, _sendingTail;
    private bool _isSending, _isKicked, _isBroken;

    /// <summary>What a message and its vectors take.</summary>
    public static int RoomFor(int vectors) => sizeof(MessageHeader) + vectors * sizeof(IoVector);

    /// <summary>Something of its own will come back.</summary>
    public bool IsBusy => _isSending || _isKicked;

    /// <summary>Takes a finished request; its reply leaves with the others of this turn.</summary>
    public void Add(NbdRequest request)
    {
        request.NextReply = null;
        if (_tail is null)
            _head = request;
        else
            _tail.NextReply = request;
        _tail = request;
        if (_isKicked || _isSending)
            return;
        _isKicked = true;
        loop.CompleteSoon(_kick, 0);
    }

    /// <summary>Nobody is there to take replies any more.</summary>
    public void Break()
    {
        _isBroken = true;
        Drop();
    }

    private void Drop()
    {
        var head = _head;
        _head = _tail = null;
        RetireAll(head);
    }

    private void SendQueued()
    {
        _isKicked = false;
        if (_isBroken)
            Drop();
        if (_isSending || _head is null)
            return;
        var count = 0;
        _sending = _head;
        while (_head is { } request && count + NbdReplyEncoder.MaxVectors <= maxVectors)
        {
            count += encoder.Encode(request, _vectors + count);
            _sendingTail = request;
            _head = request.NextReply;
        }
        if (_head is null)
            _tail = null;
        _sendingTail!.NextReply = null;
        *message = new MessageHeader { Vectors = _vectors, VectorCount = (nuint)count };
        Debug.Assert(!_isSending, "at most one send is in flight");
        _isSending = true;
        owner.Replies.Await();
        loop.Send(socket, message, _send);
    }

    /// <summary>False when the client is gone.</summary>
    private bool TrySent(int result)
    {
        if (result is -Errno.Interrupted or -Errno.Again || (result > 0 && !Advance((nuint)result)))
        {
            owner.Replies.Move(Math.Max(0, result));
            loop.Send(socket, message, _send);
            return true;
        }
        _isSending = false;
        owner.Replies.Move(Math.Max(0, result));
        var done = _sending;
        _sending = null;
        RetireAll(done);
        if (result <= 0)
            return false;
        if (_head is null)
            owner.Replies.Rest();
        SendQueued();
        return true;
    }

    /// <summary>Moves past what has been sent; true when that was everything.</summary>
    private bool Advance(nuint sent)
    {
        while (sent > 0)
        {
            var vector = message->Vectors;
            if (sent < vector->Length)
            {
                vector->Base += (nint)sent;
                vector->Length -= sent;
                return false;
            }
            sent -= vector->Length;
            message->Vectors++;
            message->VectorCount--;
        }
        return message->VectorCount == 0;
    }

    private void RetireAll(NbdRequest? request)
    {
        while (request is not null)
        {
            var next = request.NextReply;
            owner.Retire(request);
            request = next;
        }
    }

    private sealed class SendCompletion(NbdTransmission owner) : IoCompletion
    {
        public override void Complete(int result)
        {
            if (owner.Sender.TrySent(result))
                owner.Continue();
            else
                owner.Break();
        }
    }

    private sealed class SendKick(NbdTransmission owner) : IoCompletion
    {
        public override void Complete(int result)
        {
            owner.Sender.SendQueued();
            owner.CloseIfDone();
        }
    }
}
