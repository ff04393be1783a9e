using System.CommandLine;
using Lincow.Cli;
using Lincow.Cli.Commands;
using Lincow.Cli.Output;
using Lincow.Linux;

Terminal.Begin();

Signals.HaveLongFilesFail();

// Everything behind "--" belongs to the command that `lincow run` runs, options included.
var separator = Array.IndexOf(args, "--");
var (own, behind) = separator < 0 ? (args, Array.Empty<string>()) : (args[..separator], args[(separator + 1)..]);
if (args.Length == 0 || args[0] != "run")
    own = args;

LinuxProcess.RaiseDescriptorLimit();
var root = new RootCommand("lincow: a copy-on-write block device in user space. A read-only origin lies below; every write goes to an "
    + "overlay, at the same offset.")
{
    CreateCommand.Build(),
    ServeCommand.Build(args),
    RunCommand.Build(behind),
    AttachCommand.Build(args),
    DetachCommand.Build(),
    StatusCommand.Build(),
    StopCommand.Build(),
    ResetCommand.Build(),
    ListCommand.Build(),
    InfoCommand.Build(),
    MapCommand.Build(),
    CheckCommand.Build(),
    CommitCommand.Build(),
    ConvertCommand.Build(),
    DemoCommand.Build(),
    CompletionCommand.Build(),
};
root.Add(HelpCommand.Build(root));
root.Add(HelpCommand.BuildVersion(root));
Help.Install(root);
if (args is [Completion.Verb, ..])
    return Completion.Answer(root, args[1..]);
return CommandRunner.Run(root, own);
