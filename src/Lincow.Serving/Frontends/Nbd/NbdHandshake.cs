using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using Lincow.Serving.Exports;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>What the connection has to do after the handshake took in some bytes.</summary>
internal enum HandshakeStep
{
    /// <summary>Send what was written, then receive more.</summary>
    Receive,

    /// <summary>Send what was written, then go on with what is there already.</summary>
    Answer,

    /// <summary>Send what was written, then begin transmission with what is left of the input.</summary>
    Transmit,

    /// <summary>Send what was written, then negotiate TLS and go on with the handshake inside it.</summary>
    StartTls,

    /// <summary>Send what was written, then close.</summary>
    Close,
}

/// <summary>
/// Whether TLS is offered, and whether it is insisted on (proto.md, "Server-side requirements": NOTLS, SELECTIVETLS without TLS-only
/// exports, FORCEDTLS).
/// </summary>
internal enum TlsMode
{
    None,
    Offered,
    Required,
}

/// <summary>
/// The fixed newstyle handshake as a pure state machine: bytes in, bytes out, no socket. It never waits for more than one option and never
/// keeps more than one; whatever breaks the protocol's framing closes the connection, everything else is answered with the error that
/// proto.md names.
/// </summary>
internal sealed class NbdHandshake(ExportTable exports, TlsMode tls)
{
    private readonly ArrayBufferWriter<byte> _output = new(256);
    private bool _hasGreeted, _hasClientFlags, _isFixed, _noZeroes;
    private long _skip;

    // While a list is being answered: what it is of, exports may come and go meanwhile; and the next one to name.
    private IReadOnlyList<Export> _listed = [];
    private int? _listNext;
    private string? _contextsFor;
    private bool _baseContext, _overlayContext;

    /// <summary>The export to transmit for, after <see cref="HandshakeStep.Transmit"/>.</summary>
    public Export? Export { get; private set; }

    public bool StructuredReplies { get; private set; }

    public bool ExtendedHeaders { get; private set; }

    /// <summary>What is said now is said inside TLS.</summary>
    public bool IsTlsActive { get; private set; }

    public bool HasBaseContext => _baseContext;

    public bool HasOverlayContext => _overlayContext;

    /// <summary>What has been agreed on, after <see cref="HandshakeStep.Transmit"/>.</summary>
    public NbdTerms Terms => new(Export!, StructuredReplies, ExtendedHeaders, _baseContext, _overlayContext);

    /// <summary>What to send; emptied by <see cref="ClearOutput"/>.</summary>
    public ReadOnlySpan<byte> Output => _output.WrittenSpan;

    public void ClearOutput() => _output.ResetWrittenCount();

    /// <summary>The greeting that opens a connection.</summary>
    public void Greet()
    {
        if (_hasGreeted)
            return;
        _hasGreeted = true;
        WriteU64(NbdProtocol.InitMagic);
        WriteU64(NbdProtocol.OptionMagic);
        WriteU16(NbdProtocol.FlagFixedNewstyle | NbdProtocol.FlagNoZeroes);
    }

    /// <summary>Takes in what has been received; says how much of it is used up.</summary>
    public HandshakeStep Advance(ReadOnlySpan<byte> input, out int consumed)
    {
        consumed = 0;
        while (true)
        {
            if (_output.WrittenCount >= NbdProtocol.MaxHandshakeOutputBytes)
                return HandshakeStep.Answer;
            if (_listNext is not null)
            {
                ListNext();
                continue;
            }
            var rest = input[consumed..];
            if (_skip > 0)
            {
                var skipped = (int)Math.Min(_skip, rest.Length);
                _skip -= skipped;
                consumed += skipped;
                if (_skip > 0)
                    return HandshakeStep.Receive;
                continue;
            }
            if (!_hasClientFlags)
            {
                if (rest.Length < 4)
                    return HandshakeStep.Receive;
                var flags = BinaryPrimitives.ReadUInt32BigEndian(rest);
                consumed += 4;
                if ((flags & ~(uint)(NbdProtocol.FlagFixedNewstyle | NbdProtocol.FlagNoZeroes)) != 0)
                    return HandshakeStep.Close;
                _isFixed = (flags & NbdProtocol.FlagFixedNewstyle) != 0;
                _noZeroes = (flags & NbdProtocol.FlagNoZeroes) != 0;
                _hasClientFlags = true;
                continue;
            }
            const int headerBytes = 16;
            if (rest.Length < headerBytes)
                return HandshakeStep.Receive;
            if (BinaryPrimitives.ReadUInt64BigEndian(rest) != NbdProtocol.OptionMagic)
                return HandshakeStep.Close;
            var option = BinaryPrimitives.ReadUInt32BigEndian(rest[8..]);
            var length = BinaryPrimitives.ReadUInt32BigEndian(rest[12..]);
            if (length > NbdProtocol.MaxOptionBytes)
            {
                if (length > NbdProtocol.MaxSkippedOptionBytes || option == (uint)NbdOption.ExportName)
                    return HandshakeStep.Close;
                Reply(option, NbdProtocol.ErrorTooBig);
                consumed += headerBytes;
                _skip = length;
                continue;
            }
            if (rest.Length < headerBytes + (int)length)
                return HandshakeStep.Receive;
            consumed += headerBytes + (int)length;
            var step = Handle(option, rest.Slice(headerBytes, (int)length));
            // Plain bytes after STARTTLS would be taken for encrypted ones: somebody is injecting.
            if (step == HandshakeStep.StartTls && consumed < input.Length)
                return HandshakeStep.Close;
            if (step != HandshakeStep.Receive)
                return step;
        }
    }

    private HandshakeStep Handle(uint number, ReadOnlySpan<byte> data)
    {
        var option = (NbdOption)number;
        if (!_isFixed && option != NbdOption.ExportName)
            return HandshakeStep.Close;
        if (tls == TlsMode.Required && !IsTlsActive && option is not (NbdOption.StartTls or NbdOption.Abort))
        {
            if (option == NbdOption.ExportName)
                return HandshakeStep.Close;
            return Reply(number, NbdProtocol.ErrorTlsRequired);
        }
        switch (option)
        {
            case NbdOption.ExportName:
                return EnterByName(data);
            case NbdOption.Abort:
                Reply(number, NbdProtocol.ReplyAck);
                return HandshakeStep.Close;
            case NbdOption.List:
                return List(data);
            case NbdOption.StartTls:
                return StartTls(data);
            case NbdOption.Info or NbdOption.Go:
                return InfoOrGo(option, data);
            case NbdOption.StructuredReply:
                if (data.Length > 0)
                    return Reply(number, NbdProtocol.ErrorInvalid);
                if (ExtendedHeaders)
                    return Reply(number, NbdProtocol.ErrorExtendedHeaderRequired);
                StructuredReplies = true;
                return Reply(number, NbdProtocol.ReplyAck);
            case NbdOption.ListMetaContext or NbdOption.SetMetaContext:
                return MetaContexts(option, data);
            case NbdOption.ExtendedHeaders:
                if (data.Length > 0)
                    return Reply(number, NbdProtocol.ErrorInvalid);
                StructuredReplies = ExtendedHeaders = true;
                return Reply(number, NbdProtocol.ReplyAck);
            default:
                return Reply(number, NbdProtocol.ErrorUnsupported);
        }
    }

    private HandshakeStep EnterByName(ReadOnlySpan<byte> data)
    {
        if (ExtendedHeaders || data.Length > NbdProtocol.MaxNameBytes)
            return HandshakeStep.Close;
        var name = Encoding.UTF8.GetString(data);
        if (exports.Find(name) is not { } export)
            return HandshakeStep.Close;
        Choose(export, name);
        WriteU64((ulong)export.Device.SizeBytes);
        WriteU16(NbdTerms.TransmissionFlags(export, StructuredReplies));
        const int reservedBytes = 124;
        if (!_noZeroes)
        {
            _output.GetSpan(reservedBytes)[..reservedBytes].Clear();
            _output.Advance(reservedBytes);
        }
        return HandshakeStep.Transmit;
    }

    private HandshakeStep List(ReadOnlySpan<byte> data)
    {
        const uint option = (uint)NbdOption.List;
        if (data.Length > 0)
            return Reply(option, NbdProtocol.ErrorInvalid);
        (_listed, _listNext) = (exports.All, 0);
        return HandshakeStep.Receive;
    }

    // One at a time: a list of many exports is sent in pieces.
    private void ListNext()
    {
        const uint option = (uint)NbdOption.List;
        if (_listNext == _listed.Count)
        {
            _listNext = null;
            Reply(option, NbdProtocol.ReplyAck);
            return;
        }
        var export = _listed[_listNext!.Value];
        _listNext++;
        var name = Encoding.UTF8.GetBytes(export.Name);
        var description = Encoding.UTF8.GetBytes(export.Description);
        ReplyHeader(option, NbdProtocol.ReplyServer, 4 + name.Length + description.Length);
        WriteU32((uint)name.Length);
        _output.Write(name);
        _output.Write(description);
    }

    private HandshakeStep StartTls(ReadOnlySpan<byte> data)
    {
        const uint option = (uint)NbdOption.StartTls;
        if (data.Length > 0 || IsTlsActive)
            return Reply(option, NbdProtocol.ErrorInvalid);
        if (tls == TlsMode.None)
            return Reply(option, NbdProtocol.ErrorPolicy);
        Reply(option, NbdProtocol.ReplyAck);
        // Nothing that was negotiated in the open counts inside.
        IsTlsActive = true;
        StructuredReplies = ExtendedHeaders = false;
        ForgetContexts();
        return HandshakeStep.StartTls;
    }

    private HandshakeStep InfoOrGo(NbdOption option, ReadOnlySpan<byte> data)
    {
        if (!TryTakeString(ref data, out var name) || data.Length < 2)
            return Reply((uint)option, NbdProtocol.ErrorInvalid);
        var count = BinaryPrimitives.ReadUInt16BigEndian(data);
        data = data[2..];
        if (data.Length != count * 2)
            return Reply((uint)option, NbdProtocol.ErrorInvalid);
        if (exports.Find(name) is not { } export)
            return Reply((uint)option, NbdProtocol.ErrorUnknown);
        ReplyHeader((uint)option, NbdProtocol.ReplyInfo, 12);
        WriteU16(NbdProtocol.InfoExport);
        WriteU64((ulong)export.Device.SizeBytes);
        WriteU16(NbdTerms.TransmissionFlags(export, StructuredReplies));
        ReplyHeader((uint)option, NbdProtocol.ReplyInfo, 14);
        WriteU16(NbdProtocol.InfoBlockSize);
        WriteU32(NbdTerms.MinimumBlockBytes(export));
        WriteU32(NbdTerms.PreferredBlockBytes(export));
        WriteU32(NbdProtocol.MaxPayloadBytes);
        // However often it is asked for, each is said once.
        var (wantsName, wantsDescription) = (false, false);
        for (var i = 0; i < count; i++)
        {
            var wanted = BinaryPrimitives.ReadUInt16BigEndian(data[(i * 2)..]);
            wantsName |= wanted == NbdProtocol.InfoName;
            wantsDescription |= wanted == NbdProtocol.InfoDescription;
        }
        if (wantsName)
            ReplyText(option, NbdProtocol.InfoName, export.Name);
        if (wantsDescription)
            ReplyText(option, NbdProtocol.InfoDescription, export.Description);
        Reply((uint)option, NbdProtocol.ReplyAck);
        if (option == NbdOption.Info)
            return HandshakeStep.Receive;
        Choose(export, name);
        return HandshakeStep.Transmit;
    }

    private void ReplyText(NbdOption option, ushort type, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        ReplyHeader((uint)option, NbdProtocol.ReplyInfo, 2 + bytes.Length);
        WriteU16(type);
        _output.Write(bytes);
    }

    private HandshakeStep MetaContexts(NbdOption option, ReadOnlySpan<byte> data)
    {
        var isSetting = option == NbdOption.SetMetaContext;
        if (isSetting)
            ForgetContexts();
        if (!StructuredReplies || !TryTakeString(ref data, out var name) || data.Length < 4)
            return Reply((uint)option, NbdProtocol.ErrorInvalid);
        var count = BinaryPrimitives.ReadUInt32BigEndian(data);
        data = data[4..];
        var (wantsBase, wantsOverlay) = (count == 0 && !isSetting, count == 0 && !isSetting);
        for (uint i = 0; i < count; i++)
        {
            if (!TryTakeString(ref data, out var query) || !query.Contains(':', StringComparison.Ordinal))
                return Reply((uint)option, NbdProtocol.ErrorInvalid);
            wantsBase |= query == NbdProtocol.BaseAllocation || (!isSetting && query == "base:");
            wantsOverlay |= query == NbdProtocol.LincowOverlay || (!isSetting && query == "lincow:");
        }
        if (data.Length > 0)
            return Reply((uint)option, NbdProtocol.ErrorInvalid);
        if (exports.Find(name) is null)
            return Reply((uint)option, NbdProtocol.ErrorUnknown);
        if (wantsBase)
            ReplyContext(option, isSetting ? NbdProtocol.BaseContextId : 0, NbdProtocol.BaseAllocation);
        if (wantsOverlay)
            ReplyContext(option, isSetting ? NbdProtocol.OverlayContextId : 0, NbdProtocol.LincowOverlay);
        if (isSetting)
            (_contextsFor, _baseContext, _overlayContext) = (name, wantsBase, wantsOverlay);
        return Reply((uint)option, NbdProtocol.ReplyAck);
    }

    private void ReplyContext(NbdOption option, uint id, string name)
    {
        var bytes = Encoding.UTF8.GetBytes(name);
        ReplyHeader((uint)option, NbdProtocol.ReplyMetaContext, 4 + bytes.Length);
        WriteU32(id);
        _output.Write(bytes);
    }

    private void Choose(Export export, string name)
    {
        Export = export;
        if (_contextsFor != name)
            ForgetContexts();
    }

    private void ForgetContexts() => (_contextsFor, _baseContext, _overlayContext) = (null, false, false);

    private static bool TryTakeString(ref ReadOnlySpan<byte> data, out string text)
    {
        text = "";
        if (data.Length < 4)
            return false;
        var length = BinaryPrimitives.ReadUInt32BigEndian(data);
        if (length > data.Length - 4 || length > NbdProtocol.MaxNameBytes)
            return false;
        text = Encoding.UTF8.GetString(data.Slice(4, (int)length));
        data = data[(4 + (int)length)..];
        return true;
    }

    private HandshakeStep Reply(uint option, uint type)
    {
        ReplyHeader(option, type, 0);
        return HandshakeStep.Receive;
    }

    private void ReplyHeader(uint option, uint type, int length)
    {
        WriteU64(NbdProtocol.OptionReplyMagic);
        WriteU32(option);
        WriteU32(type);
        WriteU32((uint)length);
    }

    private void WriteU16(ushort value)
    {
        BinaryPrimitives.WriteUInt16BigEndian(_output.GetSpan(2), value);
        _output.Advance(2);
    }

    private void WriteU32(uint value)
    {
        BinaryPrimitives.WriteUInt32BigEndian(_output.GetSpan(4), value);
        _output.Advance(4);
    }

    private void WriteU64(ulong value)
    {
        BinaryPrimitives.WriteUInt64BigEndian(_output.GetSpan(8), value);
        _output.Advance(8);
    }
}
