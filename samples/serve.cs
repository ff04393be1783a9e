#:project ../src/Lincow.Serving/Lincow.Serving.csproj

// Serves an overlay over NBD until Ctrl-C.
//
//   dotnet run samples/serve.cs -- work.cow nbd.sock

using Lincow;
using Lincow.Serving.Hosting;

var stop = new TaskCompletionSource();
Console.CancelKeyPress += (_, e) =>
{
    e.Cancel = true;
    stop.TrySetResult();
};
await using var host = new Host(new HostOptions { Log = Console.Error.WriteLine });
var export = await host.AddAsync(new ExportOptions { Overlay = new OverlayOptions { Overlay = args[0] } });
Console.WriteLine($"ready {host.Listen(ListenAddress.AtPath(args[1])).UriOf(export)}");
await stop.Task;
