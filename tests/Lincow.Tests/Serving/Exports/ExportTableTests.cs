using Lincow.Serving.Exports;
using Lincow.Tests.Serving.Frontends.Nbd;

namespace Lincow.Tests.Serving.Exports;

/// <summary>Which export a client means by a name.</summary>
public sealed class ExportTableTests
{
    private static readonly Export A = Make("a"), B = Make("b"), C = Make("c");

    [Fact]
    public void The_only_export_answers_to_every_name()
    {
        var table = new ExportTable();
        Assert.Null(table.Find(""));
        Assert.Null(table.TryAdd([A]));
        Assert.Same(A, table.Find(""));
        Assert.Same(A, table.Find("sda"));
        table.Remove([A]);
        Assert.Null(table.Find("a"));
        Assert.Null(table.Find(""));
    }

    [Fact]
    public void Of_several_the_name_has_to_be_right_and_no_name_means_the_first()
    {
        var table = new ExportTable(A, B);
        Assert.Same(B, table.Find("b"));
        Assert.Same(A, table.Find(""));
        Assert.Null(table.Find("sda"));
    }

    [Fact]
    public void Who_had_another_export_gets_none_rather_than_the_one_that_is_left()
    {
        var table = new ExportTable(A, B);
        table.Remove([A]);
        Assert.Null(table.Find("a"));
        Assert.Null(table.Find(""));
        Assert.Same(B, table.Find("b"));
        // One after the other is as good as several at once.
        table = new ExportTable(A);
        table.Remove([A]);
        Assert.Null(table.TryAdd([B]));
        Assert.Null(table.Find("a"));
        Assert.Null(table.Find(""));
        Assert.Same(B, table.Find("b"));
    }

    [Fact]
    public void A_name_is_taken_once_and_all_are_added_or_none()
    {
        var table = new ExportTable(A);
        Assert.Equal("a", table.TryAdd([B, Make("a")]));
        Assert.Equal([A], table.All);
        Assert.Equal("c", table.TryAdd([C, Make("c")]));
        Assert.Null(table.TryAdd([B, C]));
        Assert.Equal([A, B, C], table.All);
        table.Remove([A, C]);
        Assert.Null(table.TryAdd([Make("a")]));
    }

    private static Export Make(string name) => new(name, null!, null!);
}
