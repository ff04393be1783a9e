using System.Buffers.Binary;
using System.IO.Compression;
using System.IO.Hashing;

namespace Lincow.Cli.Picture;

/// <summary>A picture of few colours, and its PNG (ISO/IEC 15948): an index of a palette for each pixel.</summary>
internal sealed class Canvas(int width, int height, uint[] palette)
{
    private const int GlyphWidth = 5, GlyphHeight = 7;

    /// <summary>Characters of 5 by 7 dots: the character, then its rows, each a digit of base 32 whose highest bit is the leftmost dot.</summary>
    private const string Font = "AEHHVHHH BUHHUHHU CEHGGGHE DUHHHHHU EVGGUGGV FVGGUGGG GEHGNHHF HHHHVHHH IE44444E J72222IC KHIKOKIH LGGGGGGV MHRLLHHH NHHPLJHH OEHHHHHE PUHHUGGG "
        + "QEHHHLID RUHHUKIH SFGGE11U TV444444 UHHHHHHE VHHHHHA4 WHHHLLLA XHHA4AHH YHHA4444 ZV1248GV 0EHJLPHE 14C4444E 2EH1248V 3V2421HE 426AIV22 5VGU11HE 668GUHHE 7V124888 "
        + "8EHHEHHE 9EHHF12C .00000CC ,0000C48 -000V000 :0CC0CC0 %OP248J3 /01248G0 _000000V";

    private static readonly Dictionary<char, string> Glyphs = Font.Split(' ').ToDictionary(glyph => glyph[0], glyph => glyph[1..]);

    private readonly byte[] _pixels = new byte[width * height];

    public byte this[int x, int y]
    {
        get => _pixels[y * width + x];
        set => _pixels[y * width + x] = value;
    }

    public void Fill(int x, int y, int across, int down, byte colour)
    {
        for (var row = Math.Max(y, 0); row < Math.Min(y + down, height); row++)
            _pixels.AsSpan(row * width + x, Math.Min(across, width - x)).Fill(colour);
    }

    /// <summary>Writes a line of text, capitals only; what there is no glyph for is a blank.</summary>
    public void Write(int x, int y, string text, byte colour, int scale = 1)
    {
        foreach (var character in text)
        {
            if (x + GlyphWidth * scale > width)
                return;
            if (Glyphs.TryGetValue(char.ToUpperInvariant(character), out var rows))
            {
                for (var dot = 0; dot < GlyphWidth * GlyphHeight; dot++)
                {
                    var row = rows[dot / GlyphWidth];
                    if (((row <= '9' ? row - '0' : row - 'A' + 10) >> (GlyphWidth - 1 - dot % GlyphWidth) & 1) != 0)
                        Fill(x + dot % GlyphWidth * scale, y + dot / GlyphWidth * scale, scale, scale, colour);
                }
            }
            x += (GlyphWidth + 1) * scale;
        }
    }

    public static int TextWidth(string text, int scale = 1) => text.Length * (GlyphWidth + 1) * scale;

    public void Save(Stream file)
    {
        file.Write([0x89, (byte)'P', (byte)'N', (byte)'G', 0x0d, 0x0a, 0x1a, 0x0a]);
        var header = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, width);
        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4), height);
        // 8 bits a pixel, an index.
        (header[8], header[9]) = (8, 3);
        WriteChunk(file, "IHDR"u8, header);
        WriteChunk(file, "PLTE"u8, [.. palette.SelectMany(colour => new[] { (byte)(colour >> 16), (byte)(colour >> 8), (byte)colour })]);
        using var data = new MemoryStream();
        using (var zlib = new ZLibStream(data, CompressionLevel.Optimal, leaveOpen: true))
        {
            for (var row = 0; row < height; row++)
            {
                // Each row begins with its filter: none.
                zlib.WriteByte(0);
                zlib.Write(_pixels, row * width, width);
            }
        }
        WriteChunk(file, "IDAT"u8, data.ToArray());
        WriteChunk(file, "IEND"u8, []);
    }

    private static void WriteChunk(Stream file, ReadOnlySpan<byte> type, byte[] content)
    {
        byte[] chunk = [0, 0, 0, 0, .. type, .. content, 0, 0, 0, 0];
        BinaryPrimitives.WriteInt32BigEndian(chunk, content.Length);
        BinaryPrimitives.WriteUInt32BigEndian(chunk.AsSpan(chunk.Length - 4), Crc32.HashToUInt32(chunk.AsSpan(4, 4 + content.Length)));
        file.Write(chunk);
    }
}
