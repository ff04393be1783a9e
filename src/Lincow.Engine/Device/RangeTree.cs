using Lincow.Requests;

namespace Lincow.Device;

/// <summary>
/// Ranges of requests, to be found by overlap: a balanced search tree (AVL) by start, each of whose nodes knows the highest end and the
/// lowest order number below it. The requests themselves are the nodes, so nothing is allocated, however many there are; and it is never
/// deeper than 1.44 times the logarithm, whatever ranges a client makes up.
/// </summary>
internal sealed class RangeTree
{
    private BlockRequest? _root;

    public bool IsEmpty => _root is null;

    /// <summary>Nodes that were looked at since the start: what it costs.</summary>
    public long Visits { get; private set; }

    /// <summary>Takes a request in, with its held range and its order number.</summary>
    public void Add(BlockRequest node)
    {
        (node.TreeLeft, node.TreeRight, node.TreeParent) = (null, null, null);
        Pull(node);
        if (_root is null)
        {
            _root = node;
            return;
        }
        var parent = _root;
        while (true)
        {
            Visits++;
            var isLeft = node.HeldStart < parent.HeldStart;
            var next = isLeft ? parent.TreeLeft : parent.TreeRight;
            if (next is not null)
            {
                parent = next;
                continue;
            }
            if (isLeft)
                parent.TreeLeft = node;
            else
                parent.TreeRight = node;
            node.TreeParent = parent;
            Mend(parent);
            return;
        }
    }

    public void Remove(BlockRequest node)
    {
        if (node.TreeLeft is null || node.TreeRight is null)
        {
            var from = node.TreeParent;
            Replace(node, node.TreeLeft ?? node.TreeRight);
            Mend(from);
            return;
        }
        // Its successor takes its place.
        var next = node.TreeRight;
        while (next.TreeLeft is not null)
            next = next.TreeLeft;
        var changed = next;
        if (next.TreeParent != node)
        {
            changed = next.TreeParent!;
            Replace(next, next.TreeRight);
            next.TreeRight = node.TreeRight;
            next.TreeRight.TreeParent = next;
        }
        Replace(node, next);
        next.TreeLeft = node.TreeLeft;
        next.TreeLeft.TreeParent = next;
        Mend(changed);
    }

    /// <summary>The request's order number has changed.</summary>
    public void Renumbered(BlockRequest node)
    {
        for (BlockRequest? at = node; at is not null; at = at.TreeParent)
        {
            Visits++;
            Pull(at);
        }
    }

    /// <summary>
    /// A request whose range overlaps another, with a lower order number than given; null if there is none. The one that lies highest in
    /// the tree, so that whoever waits for one after the other waits for few of them.
    /// </summary>
    public BlockRequest? Find(long start, long end, long order)
    {
        var node = _root;
        while (node is not null)
        {
            Visits++;
            // mutation: tree-searched-for-those-who-came-later
            var mayHold = node.MaxEnd > start && node.MinOrder < order;
            if (mayHold && node.HeldStart < end && start < node.HeldEnd && node.LockOrder < order)
                return node;
            if (mayHold && node.TreeLeft is { } left)
                node = left;
            else if (mayHold && node.TreeRight is { } right && node.HeldStart < end)
                node = right;
            else
                node = AfterSubtree(node, end);
        }
        return null;
    }

    // The next subtree to the right that may overlap a range with that end.
    private static BlockRequest? AfterSubtree(BlockRequest node, long end)
    {
        while (node.TreeParent is { } parent)
        {
            if (parent.TreeLeft == node && parent.TreeRight is { } right && parent.HeldStart < end)
                return right;
            node = parent;
        }
        return null;
    }

    private void Mend(BlockRequest? from)
    {
        for (var node = from; node is not null; node = node.TreeParent)
        {
            Visits++;
            Pull(node);
            var balance = Height(node.TreeLeft) - Height(node.TreeRight);
            if (balance > 1)
            {
                if (Height(node.TreeLeft!.TreeLeft) < Height(node.TreeLeft.TreeRight))
                    RotateLeft(node.TreeLeft);
                node = RotateRight(node);
            }
            // mutation: tree-never-balanced
            else if (balance < -1)
            {
                if (Height(node.TreeRight!.TreeRight) < Height(node.TreeRight.TreeLeft))
                    RotateRight(node.TreeRight);
                node = RotateLeft(node);
            }
        }
    }

    private BlockRequest RotateRight(BlockRequest node)
    {
        var top = node.TreeLeft!;
        node.TreeLeft = top.TreeRight;
        if (node.TreeLeft is not null)
            node.TreeLeft.TreeParent = node;
        Replace(node, top);
        (top.TreeRight, node.TreeParent) = (node, top);
        Pull(node);
        Pull(top);
        return top;
    }

    private BlockRequest RotateLeft(BlockRequest node)
    {
        var top = node.TreeRight!;
        node.TreeRight = top.TreeLeft;
        if (node.TreeRight is not null)
            node.TreeRight.TreeParent = node;
        Replace(node, top);
        (top.TreeLeft, node.TreeParent) = (node, top);
        Pull(node);
        Pull(top);
        return top;
    }

    private void Replace(BlockRequest node, BlockRequest? by)
    {
        var parent = node.TreeParent;
        if (parent is null)
            _root = by;
        else if (parent.TreeLeft == node)
            parent.TreeLeft = by;
        else
            parent.TreeRight = by;
        if (by is not null)
            by.TreeParent = parent;
    }

    private static int Height(BlockRequest? node) => node?.TreeHeight ?? 0;

    private static void Pull(BlockRequest node)
    {
        var (height, end, order) = (0, node.HeldEnd, node.LockOrder);
        if (node.TreeLeft is { } left)
            // mutation: tree-forgets-the-highest-end
            (height, end, order) = (left.TreeHeight, Math.Max(end, left.MaxEnd), Math.Min(order, left.MinOrder));
        if (node.TreeRight is { } right)
            (height, end, order) = (Math.Max(height, right.TreeHeight), Math.Max(end, right.MaxEnd), Math.Min(order, right.MinOrder));
        (node.TreeHeight, node.MaxEnd, node.MinOrder) = (height + 1, end, order);
    }
}
