"""FastAPI with uvicorn, with the plain handlers."""

import json
import socket
import sys

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from bench.servers.handlers import WELCOME, begin

app = FastAPI()


@app.websocket("/ws")  # type: ignore[untyped-decorator]  # FastAPI is not where types are checked
async def handle(connection: WebSocket) -> None:
    """Serve one connection."""
    await connection.accept()
    await connection.receive_bytes()
    await connection.send_bytes(WELCOME)
    try:
        while True:
            begin(connection.send_bytes, await connection.receive_bytes())
    except WebSocketDisconnect:
        pass


def main() -> None:
    """Listen on a free port, on a loop that uvicorn creates."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    url = f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"
    sys.stdout.write(json.dumps({"event": "ready", "url": url}) + "\n")
    sys.stdout.flush()
    config = uvicorn.Config(
        app,
        loop=sys.argv[1],
        log_level="warning",
        ws_per_message_deflate=False,
        ws="websockets-sansio",
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
