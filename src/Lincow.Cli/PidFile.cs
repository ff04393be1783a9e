using System.Globalization;
using Lincow.Linux;

namespace Lincow.Cli;

/// <summary>
/// A file with this process's number and a line end, from when it is ready to its end. A file that is there is replaced only if it is such
/// a file, so that a slip of the keyboard costs nobody an image.
/// </summary>
internal sealed class PidFile : IDisposable
{
    private const int MaxBytes = 32;

    private readonly string _path;
    private readonly string _content = Environment.ProcessId.ToString(CultureInfo.InvariantCulture) + "\n";
    private readonly bool _isOurs;

    private PidFile(string path)
    {
        _path = path;
        // A pipe, for example, somebody reads from.
        if (File.Exists(path) && !LinuxPath.IsRegularFile(path))
        {
            File.WriteAllText(path, _content);
            return;
        }
        if (File.Exists(path) && !IsPidFile(path))
            throw new CommandException($"--pid-file {path}: exists and is no such file, so it is left alone. Give another path");
        var fresh = path + ".new";
        File.Delete(fresh);
        File.WriteAllText(fresh, _content);
        File.Move(fresh, path, overwrite: true);
        _isOurs = true;
    }

    /// <summary>Writes it; throws <see cref="CommandException"/>.</summary>
    public static PidFile Write(string path)
    {
        try
        {
            return new PidFile(LinuxPath.Full(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CommandException($"--pid-file {path}: can't be written: {SystemReason.Of(e)}", e);
        }
    }

    /// <summary>Takes it away, if nobody has put another one in its place.</summary>
    public void Dispose()
    {
        try
        {
            if (_isOurs && File.Exists(_path) && File.ReadAllText(_path) == _content)
                File.Delete(_path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            CommandRunner.Warn($"{_path}: can't be removed: {SystemReason.Of(e)}");
        }
    }

    private static bool IsPidFile(string path) => new FileInfo(path).Length <= MaxBytes
        && File.ReadAllText(path).Trim() is var text && (text.Length == 0 || int.TryParse(text, CultureInfo.InvariantCulture, out _));
}
