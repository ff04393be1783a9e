using Lincow.Conversion;
using Lincow.Linux;
using Lincow.Stores;

namespace Lincow.Tests.Engine.Conversion;

/// <summary>Changes carried from format to format stay what they were; what can't be carried leaves nothing.</summary>
public sealed class ConverterTests : IDisposable
{
    private static readonly IChangeFormat[] Formats = [.. StoreChangeFormat.All, new UmlCowFormat()];

    private readonly string _directory = Directory.CreateTempSubdirectory("lincow-c").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Changes_stay_the_same_through_any_chain_of_formats_and_chunk_sizes(int seed)
    {
        var random = new Random(seed);
        for (var turn = 0; turn < 12; turn++)
        {
            var model = new RandomChanges(random);
            var origin = At($"origin{turn}");
            File.WriteAllBytes(origin, model.Origin);
            var path = At($"first{turn}");
            model.WriteTo(path, origin);
            for (var step = 0; step < 5; step++)
            {
                var format = Formats[random.Next(Formats.Length)];
                long? chunk = format is UmlCowFormat || random.Next(3) == 0 ? null : 512L << random.Next(9);
                var next = At($"next{turn}.{step}");
                var report = new OverlayConverter(Formats)
                    .Run(new ConvertOptions { Source = path, Destination = next, Origin = origin, To = format.Name, ChunkBytes = chunk });
                Assert.Equal(chunk ?? report.ChunkSize, report.ChunkSize);
                using var source = format.Open(new ChangeSourceOptions { Path = next, Origin = origin });
                model.AssertReadBy(source,
                    $"seed {seed}, turn {turn}, step {step}: {path} to {format.Name} with chunks of {report.ChunkSize}");
                path = next;
            }
        }
    }

    [Fact]
    public void A_disk_that_keeps_something_else_is_found_out_and_nothing_is_left()
    {
        var model = new RandomChanges(new Random(7));
        File.WriteAllBytes(At("origin"), model.Origin);
        model.WriteTo(At("work.cow"), At("origin"));
        var error = Assert.Throws<LincowException>(() => new OverlayConverter([StoreChangeFormat.Of("linear"), new ForgetfulFormat()])
            .Run(new ConvertOptions { Source = At("work.cow"), Destination = At("new"), To = "forgetful" }));
        Assert.Contains("read back", error.Message);
        Assert.Equal(["origin", "work.cow"], Directory.GetFiles(_directory).Select(Path.GetFileName).Order());
    }

    [Fact]
    public void A_header_of_User_mode_Linux_has_its_fields_where_the_kernel_has_them()
    {
        var block = new UmlCowHeader
        {
            DeviceBytes = 0x0102030405060800,
            ModifiedSeconds = 0x11223344,
            Alignment = 8192,
            BackingPath = "/a"
        }.Encode();
        Assert.Equal("4f4f4f4d0000000311223344" + "0102030405060800" + "00000200" + "00002000" + "00000000" + "2f6100",
            System.Convert.ToHexStringLower(block.AsSpan(0, 35)));
        Assert.Equal(4128, block.Length);
        var small = new UmlCowHeader { DeviceBytes = 16 << 20, ModifiedSeconds = 1, BackingPath = "/a" };
        Assert.Equal((8192, 4096, 12288), (small.BitmapOffset, small.BitmapBytes, small.DataOffset));
        Assert.Equal(small, UmlCowHeader.Decode(small.Encode(), out _));
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(7, 2)]
    [InlineData(12, 0x80)]
    [InlineData(22, 4)]
    [InlineData(24, 0x80)]
    [InlineData(31, 1)]
    public void A_header_with_a_field_out_of_range_is_refused(int at, byte value)
    {
        var block = new UmlCowHeader { DeviceBytes = 1 << 20, ModifiedSeconds = 1, BackingPath = "/a" }.Encode();
        block[at] = value;
        Assert.Null(UmlCowHeader.Decode(block, out var problem));
        Assert.NotNull(problem);
        block = new UmlCowHeader { DeviceBytes = 1 << 20, ModifiedSeconds = 1, Alignment = 1, BackingPath = "/a" }.Encode();
        block[27] = 0;
        Assert.Null(UmlCowHeader.Decode(block, out problem));
        Assert.Contains("alignment", problem);
    }

    private string At(string name) => Path.Combine(_directory, name);

    /// <summary>A device's content, and which of its chunks are changed or zero.</summary>
    private sealed class RandomChanges
    {
        private readonly byte[] _content;
        private readonly List<ChangedRange> _ranges = [];
        private readonly int _chunk;

        public RandomChanges(Random random)
        {
            _chunk = 512 << random.Next(6);
            Origin = new byte[512 * random.Next(1, 4000)];
            random.NextBytes(Origin);
            _content = [.. Origin];
            var density = random.NextDouble();
            for (var start = 0; start < Origin.Length;)
            {
                var length = Math.Min(_chunk * random.Next(1, random.Next(2) == 0 ? 3 : 200), Origin.Length - start);
                if (random.NextDouble() < density)
                {
                    var isZero = random.Next(4) == 0;
                    _ranges.Add(new ChangedRange(start, length, isZero));
                    _content.AsSpan(start, length).Clear();
                    if (!isZero)
                        random.NextBytes(_content.AsSpan(start, length));
                }
                start += length;
            }
        }

        public byte[] Origin { get; }

        public void WriteTo(string path, string origin)
        {
            using var file = LinuxFile.CreateNew(path);
            using var sink = StoreChangeFormat.Of("linear")
                .Create(new ChangeSinkOptions { File = file, DeviceBytes = _content.Length, ChunkBytes = _chunk, OriginUri = origin });
            sink.Begin();
            foreach (var range in _ranges)
            {
                if (range.IsZero)
                    sink.Zero(range.Start, range.Length);
                else
                    sink.Write(range.Start, _content.AsSpan((int)range.Start, (int)range.Length));
            }
            sink.Complete();
        }

        public void AssertReadBy(IChangeSource source, string where)
        {
            Assert.Equal(_content.Length, source.DeviceBytes);
            var read = new byte[_content.Length];
            source.Read(0, read);
            Assert.True(read.AsSpan().SequenceEqual(_content),
                $"{where}: differs from byte {read.AsSpan().CommonPrefixLength(_content)} on");
            var isChanged = new bool[_content.Length / 512];
            long end = 0;
            foreach (var range in source.Changes())
            {
                Assert.True(range.Start >= end && range.Length > 0 && range.End <= _content.Length, $"{where}: {range} after {end}");
                end = range.End;
                Array.Fill(isChanged, true, (int)(range.Start / 512), (int)(range.Length / 512));
            }
            foreach (var range in _ranges)
                Assert.True(!isChanged.AsSpan((int)(range.Start / 512), (int)(range.Length / 512)).Contains(false),
                    $"{where}: {range} is no change any more");
        }
    }

    /// <summary>Keeps everything but the last byte of each write.</summary>
    private sealed class ForgetfulFormat : IChangeFormat
    {
        private readonly StoreChangeFormat _inner = StoreChangeFormat.Of("snapshot");

        public string Name => "forgetful";

        public bool Recognises(LinuxFile file, ReadOnlySpan<byte> head) => false;

        public IChangeSource Open(ChangeSourceOptions options) => _inner.Open(options);

        public int ChunkFor(long? wanted, int source, long deviceBytes) => _inner.ChunkFor(wanted, source, deviceBytes);

        public IChangeSink Create(ChangeSinkOptions options) => new Sink(_inner.Create(options));

        private sealed class Sink(IChangeSink inner) : IChangeSink
        {
            public void Begin() => inner.Begin();

            public void Write(long byteOffset, ReadOnlySpan<byte> content)
            {
                byte[] changed = [.. content];
                changed[^1] ^= 1;
                inner.Write(byteOffset, changed);
            }

            public void Zero(long byteOffset, long byteLength) => inner.Zero(byteOffset, byteLength);

            public void Complete() => inner.Complete();

            public void Dispose() => inner.Dispose();
        }
    }
}
