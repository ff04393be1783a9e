#:project ../src/Lincow.Engine/Lincow.Engine.csproj

// Makes an overlay of an image, writes to it and reads it back; the image stays as it is.
//
//   dotnet run samples/open-read-write.cs -- golden.img work.cow

using Lincow;

var (image, path) = (args[0], args[1]);
if (!File.Exists(path))
    await Overlay.CreateAsync(new CreateOptions { Overlay = path, Origin = image });

await using var overlay = await Overlay.OpenAsync(path);
await overlay.WriteAsync(4096, "hello, overlay\n"u8.ToArray());
await overlay.FlushAsync();

using var stream = overlay.OpenStream();
stream.Position = 4096;
Console.WriteLine(await new StreamReader(stream).ReadLineAsync());

await foreach (var extent in overlay.ExtentsAsync())
    Console.WriteLine($"{extent.Offset,12} {extent.Length,12} {extent.Kind}");
