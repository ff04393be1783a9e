using Lincow.Layers;
using Lincow.Stores.Linear;

namespace Lincow.Tests.Engine.Stores.Linear;

public class MapFormatTests
{
    private static readonly Guid Overlay = Guid.Parse("00112233-4455-6677-8899-aabbccddeeff");

    private static byte[] Page(ulong sequence, ulong generation, long page = 3, int seed = 1)
    {
        var random = new Random(seed);
        var words = new ulong[MapFormat.WordsPerPage];
        for (var chunk = 0; chunk < ChunkMap.ChunksPerPage; chunk++)
            words[chunk / 32] |= (ulong)random.Next(3) << (chunk % 32 * 2);
        var image = new byte[MapFormat.PageBytes];
        MapFormat.Encode(image, words, Overlay, page, sequence, generation);
        return image;
    }

    [Fact]
    public void Layout_is_that_of_the_format_document()
    {
        Assert.Equal(1952 * 8, ChunkMap.ChunksPerPage);
        Assert.Equal(488, MapFormat.WordsPerPage);
        // Two slots for every page, at 4 KiB chunks: at most 0.02 % of the device.
        Assert.True(ChunkMap.PagesFor((1L << 40) / 4096) * MapFormat.PairBytes < (1L << 40) / 5000);
    }

    [Fact]
    public void The_checksum_is_crc32c_over_uuid_page_sector_and_content()
    {
        // CRC-32C of "123456789" is 0xe3069283 (RFC 3720, B.4 uses the same polynomial): the primitive that the format names.
        var crc = uint.MaxValue;
        foreach (var value in "123456789"u8)
            crc = System.Numerics.BitOperations.Crc32C(crc, value);
        Assert.Equal(0xe3069283, ~crc);
        var image = Page(1, 1);
        var covered = new List<byte>();
        covered.AddRange(Overlay.ToByteArray(bigEndian: true));
        covered.AddRange(BitConverter.GetBytes(3L));
        covered.AddRange(BitConverter.GetBytes(5));
        covered.AddRange(image.AsSpan(5 * 512 + 4, 508));
        crc = uint.MaxValue;
        foreach (var value in covered)
            crc = System.Numerics.BitOperations.Crc32C(crc, value);
        Assert.Equal(~crc, BitConverter.ToUInt32(image, 5 * 512));
    }

    [Fact]
    public void Every_flipped_bit_is_damage()
    {
        var image = Page(7, 2);
        for (var position = 0; position < image.Length; position++)
        {
            image[position] ^= (byte)(1 << (position % 8));
            var facts = MapFormat.Inspect(image, Overlay, 3);
            Assert.Equal((SlotCondition.Damaged, position / 512), (facts.Condition, facts.DamagedSector));
            image[position] ^= (byte)(1 << (position % 8));
        }
        Assert.Equal(SlotCondition.Whole, MapFormat.Inspect(image, Overlay, 3).Condition);
    }

    [Fact]
    public void A_version_that_only_zero_could_follow_is_damage() =>
        Assert.Equal(SlotCondition.Damaged, MapFormat.Inspect(Page(ulong.MaxValue, 2), Overlay, 3).Condition);

    [Fact]
    public void A_flipped_bit_in_a_page_never_written_is_damage()
    {
        var image = new byte[MapFormat.PageBytes];
        Assert.Equal(SlotCondition.Blank, MapFormat.Inspect(image, Overlay, 3).Condition);
        image[700] = 4;
        Assert.Equal(SlotCondition.Damaged, MapFormat.Inspect(image, Overlay, 3).Condition);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_write_torn_at_any_sector_is_told_from_damage(bool overBlank)
    {
        var (old, next) = (overBlank ? new byte[MapFormat.PageBytes] : Page(5, 1), Page(7, 1, seed: 2));
        for (var mask = 1; mask < 255; mask++)
        {
            var torn = old.ToArray();
            for (var sector = 0; sector < 8; sector++)
            {
                if ((mask & (1 << sector)) != 0)
                    next.AsSpan(sector * 512, 512).CopyTo(torn.AsSpan(sector * 512));
            }
            Assert.Equal(SlotCondition.Torn, MapFormat.Inspect(torn, Overlay, 3).Condition);
        }
    }

    [Fact]
    public void A_page_at_another_place_or_of_another_overlay_is_damage()
    {
        Assert.Equal(SlotCondition.Damaged, MapFormat.Inspect(Page(1, 1, page: 4), Overlay, 3).Condition);
        Assert.Equal(SlotCondition.Damaged, MapFormat.Inspect(Page(1, 1), Guid.Empty, 3).Condition);
    }

    [Fact]
    public void States_survive_encoding()
    {
        var words = new ulong[MapFormat.WordsPerPage];
        MapFormat.CopyStates(Page(1, 1, seed: 9), words);
        var random = new Random(9);
        for (var chunk = 0; chunk < ChunkMap.ChunksPerPage; chunk++)
            Assert.Equal((ulong)random.Next(3), (words[chunk / 32] >> (chunk % 32 * 2)) & 3);
    }

    private static SlotFacts Facts(SlotCondition condition, ulong generation = 0, ulong sequence = 0) =>
        new(condition, new SlotVersion(generation, sequence), condition == SlotCondition.Damaged ? 2 : -1);

    public static TheoryData<string, int, bool, bool> Verdicts => new()
    {
        // first and second slot as condition generation.sequence; expected slot, damaged?, opened after a clean close?
        { "Blank 0.0 Blank 0.0", -1, false, false },
        { "Whole 5.1 Blank 0.0", 0, false, false },
        { "Whole 5.1 Whole 5.2", 1, false, false },
        { "Whole 5.3 Whole 5.2", 0, false, false },
        { "Whole 4.9 Whole 5.1", 1, false, false },
        { "Whole 4.8 Whole 4.9", -1, false, false },
        { "Whole 5.2 Torn 5.3", 0, false, false },
        { "Torn 5.3 Whole 5.2", 1, false, false },
        { "Torn 5.1 Blank 0.0", -1, false, false },
        { "Torn 5.1 Whole 4.9", -1, false, false },
        { "Torn 5.1 Torn 5.2", -1, false, false },
        { "Torn 5.1 Torn 5.2", -1, true, true },
        { "Damaged 5.1 Damaged 5.2", -1, true, false },
        // Damaged, and known to be the older one: harmless. Otherwise it may have been the newer: refused while in use, replaced after a
        // clean close.
        { "Damaged 5.1 Whole 5.2", 1, false, false },
        { "Damaged 5.2 Whole 5.2", 1, false, false },
        { "Damaged 5.3 Whole 5.2", -1, true, false },
        { "Damaged 0.0 Whole 5.2", -1, true, false },
        { "Damaged 4.9 Whole 4.8", -1, false, false },
        { "Damaged 5.2 Whole 5.2", 1, false, true },
        { "Damaged 0.0 Blank 0.0", -1, false, true },
        { "Damaged 0.0 Damaged 0.0", -1, true, true },
        { "Whole 6.1 Whole 5.2", -1, true, false },
    };

    [Theory]
    [MemberData(nameof(Verdicts))]
    public void The_slot_that_counts_is_chosen_by_the_rules(string slots, int expectedSlot, bool expectDamage, bool wasClean)
    {
        var words = slots.Split(' ');
        var verdict = PageVerdict.Choose(Parse(words[0], words[1]), Parse(words[2], words[3]), generation: 5, wasClean);
        Assert.Equal((expectedSlot, expectDamage), (verdict.Slot, verdict.IsDamaged));

        static SlotFacts Parse(string condition, string version) =>
            Facts(Enum.Parse<SlotCondition>(condition), ulong.Parse(version.Split('.')[0], null), ulong.Parse(version.Split('.')[1], null));
    }
}
