using System.Reflection;
using System.Text;
using Lincow.Linux;
using Lincow.Serving.Hosting;

namespace Lincow.Tests.House;

/// <summary>
/// What programs can use of the library is written down in Face.txt, next to this file, so that a change to it is seen as one. Everything
/// else is internal.
/// </summary>
public class FaceTests
{
    private static readonly string Path = System.IO.Path.Combine(HouseTests.Root, "tests", "Lincow.Tests", "House", "Face.txt");

    private static readonly string[] MadeNames =
        ["Equals", "GetHashCode", "ToString", "PrintMembers", "Deconstruct", "<Clone>$", "EqualityContract"];

    [Fact]
    public void The_public_members_are_those_that_are_written_down()
    {
        var (expected, actual) = (File.Exists(Path) ? File.ReadAllText(Path) : "", Describe());
        if (Environment.GetEnvironmentVariable("LINCOW_NEW_FACE") == "1")
            File.WriteAllText(Path, actual);
        else
            Assert.True(expected == actual, "the library's face is another one than tests/Lincow.Tests/House/Face.txt says. If that is "
                + $"meant, run this test with LINCOW_NEW_FACE=1 in the environment, and commit the file.\n{Difference(expected, actual)}");
    }

    private static string Difference(string expected, string actual)
    {
        var (before, after) = (expected.Split('\n'), actual.Split('\n'));
        return string.Join('\n', before.Except(after).Select(line => "- " + line).Concat(after.Except(before).Select(line => "+ " + line)));
    }

    private static string Describe()
    {
        var text = new StringBuilder();
        foreach (var assembly in new[] { typeof(LinuxFile).Assembly, typeof(Overlay).Assembly, typeof(Host).Assembly })
        {
            text.Append(assembly.GetName().Name).Append('\n');
            foreach (var type in assembly.GetExportedTypes().OrderBy(type => type.FullName, StringComparer.Ordinal))
            {
                text.Append($"    {Kind(type)} {Name(type)}{Bases(type)}\n");
                foreach (var member in Members(type).Order(StringComparer.Ordinal))
                    text.Append($"        {member}\n");
            }
        }
        return text.ToString();
    }

    private static string Kind(Type type) => (type.IsEnum, type.IsValueType, type.IsInterface) switch
    {
        (true, _, _) => "enum",
        (_, true, _) => "struct",
        (_, _, true) => "interface",
        _ => type is { IsAbstract: true, IsSealed: true } ? "static class" : type.IsAbstract ? "abstract class"
            : type.IsSealed ? "sealed class" : "class",
    };

    private static string Bases(Type type)
    {
        var bases = type.GetInterfaces()
            .Where(each => each.IsPublic && !type.IsEnum && !each.Name.StartsWith("IEquatable", StringComparison.Ordinal))
            .Select(Name).Order(StringComparer.Ordinal).ToList();
        if (type.BaseType is { } above && above != typeof(object) && above != typeof(ValueType) && above != typeof(Enum))
        {
            bases.RemoveAll(each => above.GetInterfaces().Any(its => Name(its) == each));
            bases.Insert(0, Name(above));
        }
        return bases.Count > 0 ? " : " + string.Join(", ", bases) : "";
    }

    private static IEnumerable<string> Members(Type type)
    {
        const BindingFlags All = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static
            | BindingFlags.DeclaredOnly;
        if (type.IsEnum)
        {
            foreach (var name in Enum.GetNames(type))
                yield return $"{name} = {Convert.ToInt64(Enum.Parse(type, name))}";
            yield break;
        }
        foreach (var constructor in type.GetConstructors(All).Where(each => IsSeen(each) && !IsMade(each)))
            yield return $"new({Parameters(constructor)})";
        foreach (var field in type.GetFields(All).Where(field => field.IsPublic || field.IsFamily))
            yield return $"{(field.IsLiteral ? "const " : "")}{Name(field.FieldType)} {field.Name}";
        foreach (var property in type.GetProperties(All)
            .Where(property => property.GetMethod is { } get && IsSeen(get) && !IsMade(get, property.Name)))
        {
            var setter = property.SetMethod is { } set && IsSeen(set)
                ? set.ReturnParameter.GetRequiredCustomModifiers().Length > 0 ? " init;" : " set;" : "";
            yield return $"{Modifiers(property.GetMethod!)}{Name(property.PropertyType)} {property.Name} {{ get;{setter} }}";
        }
        foreach (var method in type.GetMethods(All).Where(method => IsSeen(method) && !method.IsSpecialName && !IsMade(method)))
            yield return $"{Modifiers(method)}{Name(method.ReturnType)} {method.Name}({Parameters(method)})";
    }

    private static bool IsSeen(MethodBase method) => method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly;

    /// <summary>What the compiler makes of a record.</summary>
    private static bool IsMade(MethodBase method, string? name = null) =>
        method.DeclaringType!.GetMethods(BindingFlags.NonPublic | BindingFlags.Instance).Any(each => each.Name == "PrintMembers")
        && (MadeNames.Contains(name ?? method.Name)
            || (method.IsConstructor && method.GetParameters() is [var only] && only.ParameterType == method.DeclaringType));

    private static string Modifiers(MethodBase method) => (method.IsPublic ? "" : "protected ") + (method.IsStatic ? "static " : "")
        + (method.IsAbstract ? "abstract " : method is MethodInfo info && info.GetBaseDefinition() != info ? "override "
        : method is { IsVirtual: true, IsFinal: false } && !method.DeclaringType!.IsSealed ? "virtual " : "");

    private static string Parameters(MethodBase method) => string.Join(", ", method.GetParameters().Select(parameter =>
        $"{(parameter.IsOut ? "out " : "")}{Name(parameter.ParameterType)} {parameter.Name}{Default(parameter)}"));

    private static string Default(ParameterInfo parameter) => !parameter.HasDefaultValue ? "" : parameter.DefaultValue switch
    {
        null => parameter.ParameterType.IsValueType ? " = default" : " = null",
        bool value => value ? " = true" : " = false",
        var value => $" = {value}",
    };

    private static string Name(Type type) => type.IsByRef ? Name(type.GetElementType()!)
        : Nullable.GetUnderlyingType(type) is { } under ? Name(under) + "?"
        : type.IsGenericType ? $"{type.Name[..type.Name.IndexOf('`')]}<{string.Join(", ", type.GetGenericArguments().Select(Name))}>"
        : type.Namespace?.StartsWith("Lincow", StringComparison.Ordinal) == true ? type.FullName!.Replace('+', '.')
        : type.Name;
}
