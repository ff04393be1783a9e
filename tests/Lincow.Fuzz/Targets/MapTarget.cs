using Lincow.Layers;
using Lincow.Linux;
using Lincow.Stores.Linear;
using static Lincow.Fuzz.BrokenPromiseException;

namespace Lincow.Fuzz.Targets;

/// <summary>
/// A map page's two slots: each blank, whole, torn, of any version, damaged here and there; then what the map in memory makes of them.
/// </summary>
internal sealed class MapTarget : IFuzzTarget
{
    private const long Page = 3;
    private const ulong Generation = 5;
    private static readonly Guid Overlay = new(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);

    private readonly byte[] _pair = new byte[MapFormat.PairBytes];
    private readonly ulong[] _words = new ulong[MapFormat.WordsPerPage];

    public void Run(ReadOnlySpan<byte> bytes)
    {
        var input = new FuzzInput(bytes);
        var how = input.U8();
        for (var slot = 0; slot < 2; slot++)
            Fill(ref input, _pair.AsSpan(slot * MapFormat.PageBytes, MapFormat.PageBytes));
        var first = MapFormat.Inspect(_pair.AsSpan(0, MapFormat.PageBytes), Overlay, Page);
        var second = MapFormat.Inspect(_pair.AsSpan(MapFormat.PageBytes), Overlay, Page);
        var wasClean = (how & 1) != 0;
        var verdict = PageVerdict.Choose(first, second, Generation, wasClean);
        Judge(first, second, verdict, wasClean);
        using var buffers = new BufferPool();
        using var map = new ChunkMap(new Geometry((Page + 1) * ChunkMap.ChunksPerPage * 512L - (how >> 1) * 512, 9), startsEmpty: false,
            buffers);
        using var pages = new MapPages(map);
        pages.TryLoad(Page, verdict, verdict.Slot < 0 ? default : _pair.AsSpan(verdict.Slot * MapFormat.PageBytes, MapFormat.PageBytes));
        Walk(map);
        var start = new ChunkIndex(Page * ChunkMap.ChunksPerPage + input.U16() % 8192);
        map.Set(start, 1 + input.U16() % 4096, (ChunkState)(input.U8() % 3));
        Walk(map);
        map.MarkDirty(Page);
        var target = pages.Encode(Page, _pair.AsSpan(0, MapFormat.PageBytes), Overlay, Generation);
        Require(target != verdict.Slot, "the slot that counts is never overwritten");
        var written = MapFormat.Inspect(_pair.AsSpan(0, MapFormat.PageBytes), Overlay, Page);
        var newest = first.Newest > second.Newest ? first.Newest : second.Newest;
        Require(written.Condition == SlotCondition.Whole
            && (verdict.IsDamaged || written.Newest > newest), "what is written next is whole and newer");
    }

    private void Fill(ref FuzzInput input, Span<byte> slot)
    {
        var kind = input.U8();
        slot.Clear();
        if ((kind & 3) != 0)
        {
            var pattern = input.U16() * 0x1000100010001UL;
            // 11 is no state.
            _words.AsSpan().Fill(pattern & ~((pattern & pattern >> 1 & 0x5555555555555555) << 1));
            MapFormat.Encode(slot, _words, Overlay, Page + ((kind & 4) == 0 ? 0 : 1), input.U8(), (ulong)(4 + (kind >> 6)));
            // Some sectors of another write.
            var torn = (kind & 8) == 0 ? 0 : input.U8();
            Span<byte> other = stackalloc byte[MapFormat.PageBytes];
            MapFormat.Encode(other, _words, Overlay, Page, input.U8(), Generation);
            for (var sector = 0; sector < 8; sector++)
            {
                if ((torn & 1 << sector) != 0)
                    other.Slice(sector * MapFormat.SectorBytes, MapFormat.SectorBytes).CopyTo(slot[(sector * MapFormat.SectorBytes)..]);
            }
        }
        input.Patch(slot);
        if ((kind & 16) != 0)
            Seal.Page(slot, Overlay, Page, input.U8());
    }

    private static void Judge(SlotFacts first, SlotFacts second, PageVerdict verdict, bool wasClean)
    {
        Require(verdict.Slot is >= -1 and <= 1, "a slot is 0, 1 or none");
        Require(!(verdict.IsDamaged && verdict.Slot >= 0), "a lost page has no slot");
        if (verdict.Slot >= 0)
        {
            var (chosen, other) = verdict.Slot == 0 ? (first, second) : (second, first);
            Require(chosen.Condition == SlotCondition.Whole
                && chosen.Newest.Generation == Generation, "only a whole slot of this generation counts");
            Require(other.Condition != SlotCondition.Whole || !(other.Newest > chosen.Newest), "the newer of two whole slots counts");
            Require(wasClean || other.Condition != SlotCondition.Damaged
                || !(other.Newest > chosen.Newest), "in use, a damaged slot that is newer is not passed over");
        }
        var isAnyDamaged = first.Condition == SlotCondition.Damaged || second.Condition == SlotCondition.Damaged;
        Require(!isAnyDamaged || verdict.Finding is not null, "damage is never passed over in silence");
    }

    private static void Walk(ChunkMap map)
    {
        var chunk = Page * ChunkMap.ChunksPerPage;
        var end = map.Geometry.ChunkCount;
        while (chunk < end)
        {
            var (state, count) = map.RunAt(new ChunkIndex(chunk), end - chunk);
            Require(count > 0 && chunk + count <= end, "runs stay within the device");
            Require(map.StateOf(new ChunkIndex(chunk)) == state
                && map.StateOf(new ChunkIndex(chunk + count - 1)) == state, "a run is of one state");
            Require(state is ChunkState.Origin or ChunkState.Data or ChunkState.Zero, "a state is one of three");
            chunk += count;
        }
    }
}
