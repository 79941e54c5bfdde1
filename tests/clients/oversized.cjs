// Sends a message that is too large, several times, and prints the codes that the service closes with, as JSON.
const [library, url, hello, size, times] = process.argv.slice(2);
const WebSocket = require(library);

function once() {
  return new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.on("open", () => socket.send(Buffer.from(hello, "hex")));
    socket.once("message", () => socket.send(Buffer.alloc(Number(size))));
    socket.on("error", () => {}); // a close follows
    socket.on("close", (code, reason) => resolve([code, reason.toString()]));
  });
}

(async () => {
  const seen = [];
  for (let i = 0; i < Number(times); i++) seen.push(await once());
  console.log(JSON.stringify(seen));
})();
