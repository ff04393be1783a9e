using System.Globalization;
using System.Net.Sockets;
using System.Reflection;
using System.Text.RegularExpressions;
using Lincow.Cli.Output;
using Lincow.Linux;
using Lincow.Serving.Control;

namespace Lincow.Tests.Cli.Output;

/// <summary>
/// Every error that lincow can make: each factory method of the rooms' classes of errors is called with arguments that can be found again.
/// </summary>
public partial class ErrorTextTests
{
    private static readonly IReadOnlyList<MethodInfo> _factories = [.. new[] { typeof(LincowError).Assembly, typeof(ControlReply).Assembly }
        .SelectMany(assembly => assembly.GetTypes())
        .Where(type => type.Name.EndsWith("Errors", StringComparison.Ordinal))
        .SelectMany(type => type.GetMethods(BindingFlags.Static | BindingFlags.Public))
        .Where(method => method.ReturnType == typeof(LincowError))];

    private static readonly int[] _errnos = [Errno.IO, Errno.NoSpace, Errno.FileTooBig, Errno.AddressInUse, Errno.Exists];

    /// <summary>Everything that the factories make, with the arguments that it was made of.</summary>
    private static IEnumerable<(string Factory, LincowError Error, object?[] Arguments)> All() =>
        from factory in _factories
        from errno in _errnos
        from flag in new[] { false, true }
        let arguments = Arguments(factory, errno, flag)
        select ($"{factory.DeclaringType!.Name}.{factory.Name}", (LincowError)factory.Invoke(null, arguments)!, arguments);

    private static object?[] Arguments(MethodInfo factory, int errno, bool flag) => [.. factory.GetParameters().Select(parameter =>
        parameter.ParameterType == typeof(string) ? (object)$"<{parameter.Name}>"
        : parameter.ParameterType == typeof(bool) ? flag
        : parameter.ParameterType == typeof(int) ? 1 + parameter.Position
        : parameter.ParameterType == typeof(long) ? flag && parameter.Name == "headBytes" ? 0 : 70_000L + parameter.Position
        : parameter.ParameterType == typeof(ulong) ? 0xabcUL
        : parameter.ParameterType == typeof(Guid) ? Guid.Parse("11111111-2222-3333-4444-555555555555")
        : parameter.ParameterType == typeof(LinuxException) ? new LinuxException("open", "<subject>", errno)
        : parameter.ParameterType == typeof(SocketException) ? new SocketException(errno)
        : flag ? new IOException("<reason>")
        : new LincowException(new LincowError(LincowErrorCode.OriginMissing, "<file>", "<file>: the origin does not exist")))];

    [Fact]
    public void Every_code_is_made_somewhere_and_has_a_wording_and_a_kind()
    {
        var made = All().Select(each => each.Error.Code).Append(LincowErrorCode.Several).ToHashSet();
        Assert.All(Enum.GetValues<LincowErrorCode>(), code =>
        {
            Assert.True(ErrorText.Find(code) is not null, $"{code} has no wording in Lincow.Cli/Output/ErrorText.Wordings.cs");
            Assert.True(made.Contains(code), $"{code} is made by no factory method of a room's class of errors");
            Assert.True(Enum.IsDefined((LincowErrorKind)((int)code / 100)), $"{code} is of no kind");
        });
    }

    [Fact]
    public void A_wording_asks_for_no_fact_that_is_not_stated() => Assert.All(All(), each =>
    {
        foreach (var name in Placeholder().Matches(ErrorText.Find(each.Error.Code)!).Select(match => match.Groups[1].Value))
            Assert.True(name == "message" || (name == "file" ? each.Error.File is not null : each.Error[name] is not null),
                $"{each.Factory} states no {name}, which the wording of {each.Error.Code} asks for");
        Assert.DoesNotMatch(@"\{\w+\}", ErrorText.Of(each.Error));
    });

    [Fact]
    public void Whatever_a_factory_is_told_is_among_the_facts() => Assert.All(All(), each =>
    {
        var stated = string.Join('|', each.Error.Facts.Select(fact => fact.ToString()).Append(each.Error.File));
        foreach (var argument in each.Arguments.Where(argument => argument is string or long or int or Guid))
            Assert.True(argument is 0L
                || stated.Contains(Convert.ToString(argument, CultureInfo.InvariantCulture)!, StringComparison.Ordinal),
                $"{each.Factory} doesn't state {argument}");
        foreach (var cause in each.Arguments.OfType<LinuxException>())
            Assert.Equal(cause.Errno, each.Error["errno"]?.Number);
        if (each.Arguments.OfType<LincowException>().FirstOrDefault() is { } inner
            && each.Error.Code == LincowErrorCode.CommitUnfinishedShut)
            Assert.Same(inner.Error, each.Error["reason"]?.Error);
    });

    [Fact]
    public void Sentences_name_no_option_and_no_command() => Assert.All(All(), each =>
    {
        Assert.DoesNotMatch("--[a-z]|'lincow ", each.Error.Message);
        Assert.False(each.Error.Message.EndsWith('.'), $"{each.Factory}: the full stop is added by whoever goes on");
    });

    [Fact]
    public void Errors_go_over_the_control_socket_and_come_out_as_they_were() => Assert.All(All(), each =>
    {
        var back = ErrorDocument.Of(each.Error).ToError()!;
        Assert.Equal((each.Error.Code, each.Error.File, each.Error.Message), (back.Code, back.File, back.Message));
        Assert.Equal(each.Error.Facts.Select(fact => (fact.Name, fact.Number, fact.Text, fact.ToString())),
            back.Facts.Select(fact => (fact.Name, fact.Number, fact.Text, fact.ToString())));
        Assert.Equal(ErrorText.Of(each.Error), ErrorText.Of(back));
    });

    [Fact]
    public void A_code_of_a_newer_server_is_no_error_here()
    {
        var document = ErrorDocument.Of(new LincowError(LincowErrorCode.DeviceHeld, null, "x"));
        Assert.NotNull(document.ToError());
        Assert.Null((document with { Code = "MadeUpLater" }).ToError());
        Assert.Null((document with { Code = "77" }).ToError());
    }

    [Fact]
    public void Several_errors_and_causes_are_put_into_words_each()
    {
        var missing = new LincowError(LincowErrorCode.OriginMissing, "a", "a: the origin does not exist");
        Assert.Same(missing, LincowError.Join([missing]));
        Assert.Equal("a: the origin does not exist. If it was moved, give its new place with --origin; b",
            ErrorText.Of(LincowError.Join([missing, new LincowError(LincowErrorCode.ExportLost, null, "b")])));
        Assert.Equal("--max-size: 1 bytes is more than 2^60, the largest device",
            ErrorText.Of(new LincowError(LincowErrorCode.DeviceTooLarge, null, "max-size: 1 bytes is more than 2^60, the largest device")));
    }

    [GeneratedRegex(@"\{(\w+)\}")]
    private static partial Regex Placeholder();
}
