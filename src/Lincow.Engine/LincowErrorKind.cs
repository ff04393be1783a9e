namespace Lincow;

/// <summary>What a program would do about an error. Each group of a hundred <see cref="LincowErrorCode"/>s is of one kind.</summary>
public enum LincowErrorKind
{
    /// <summary>What was asked for can't be: ask for something else.</summary>
    Argument = 1,

    /// <summary>It isn't there, or is something else: name the right one.</summary>
    NotFound = 2,

    /// <summary>Something is there already that would be lost: name another place, or say that it may be replaced.</summary>
    Exists = 3,

    /// <summary>Somebody else uses it: wait, or end that first.</summary>
    InUse = 4,

    /// <summary>It may be right, but a person has to say so.</summary>
    Unconfirmed = 5,

    /// <summary>Bytes are damaged or lost: check, then restore.</summary>
    Damaged = 6,

    /// <summary>Its state doesn't allow it: change that first (complete a commit, detach, ...).</summary>
    State = 7,

    /// <summary>This version of lincow, or this machine, can't.</summary>
    Unsupported = 8,

    /// <summary>The system or a peer failed: look at its reason (the fact <c>errno</c>, where there is one), mend that, try
    /// again.</summary>
    Failed = 9,

    /// <summary>It was told to stop: start it again.</summary>
    Interrupted = 10,

    /// <summary>An error of lincow itself.</summary>
    Internal = 11,
}
