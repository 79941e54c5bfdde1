"""The library `picows`, with the plain handlers."""

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from bench.servers.handlers import WELCOME, begin
from bench.servers.process import run, serve


class Listener(WSListener):  # type: ignore[misc]  # picows is not where types are checked
    """One connection."""

    greeted = False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer the first binary frame with a Welcome; handle each later one as a request."""
        if frame.msg_type != WSMsgType.BINARY:
            return

        async def send(data: bytes) -> None:
            transport.send(WSMsgType.BINARY, data)

        if self.greeted:
            begin(send, frame.get_payload_as_bytes())
        else:
            self.greeted = True
            transport.send(WSMsgType.BINARY, WELCOME)


def accept(_request: WSUpgradeRequest) -> Listener:
    """Accept every connection."""
    return Listener()


async def main() -> None:
    """Listen on a free port."""
    server = await ws_create_server(accept, "127.0.0.1", 0)
    await serve(server.sockets[0].getsockname()[1])


if __name__ == "__main__":
    run(main())
