"""The plain relay: what one would write instead of Callboard, the denominator of every ratio.

An aiohttp WebSocket in, aiohttp's client out, `json.loads` and a protobuf message for each token;
no sessions, limits, history or actors. `plain_relay LOOP` passes replies on and keeps nothing. With
`stored` as second argument it also writes the message and the reply, each in a transaction of
SQLite, in the event loop's own thread; with `threaded`, in a thread beside it.
"""

import asyncio
import json
import os
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import WSMsgType, web

from bench.servers.handlers import WELCOME
from bench.servers.listen import listen
from bench.servers.process import run
from callboard.v1 import chat_pb2 as chat
from callboard.v1 import envelope_pb2 as envelope

_URL: Final = "BENCH_MODEL_SERVER"
"""Environment variable with the base URL of the model server."""


class Store:
    """A table of entries in the working directory. threaded: write in a thread."""

    def __init__(self, threaded: bool) -> None:
        self._thread = ThreadPoolExecutor(1) if threaded else None
        path = Path("relay.sqlite3")
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(
            "CREATE TABLE entries (id INTEGER PRIMARY KEY, conversation TEXT, kind TEXT, text TEXT)"
        )

    async def add(self, *entry: str) -> None:
        """Insert a conversation's id, a kind and a text."""
        if self._thread is None:
            self._insert(entry)
        else:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._insert, entry)

    def _insert(self, entry: tuple[str, ...]) -> None:
        insert = "INSERT INTO entries (conversation, kind, text) VALUES (?, ?, ?)"
        self._database.execute(insert, entry)  # outside BEGIN: a transaction of its own


class Relay:
    """Serves connections with one HTTP session."""

    def __init__(self, url: str, http: aiohttp.ClientSession, store: Store | None) -> None:
        self._url = f"{url}/chat/completions"
        self._http = http
        self._store = store
        self._running: set[asyncio.Task[None]] = set()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one connection."""
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.receive()
        await socket.send_bytes(WELCOME)
        async for received in socket:
            if received.type is WSMsgType.BINARY:
                message = envelope.ClientMessage.FromString(received.data)
                task = asyncio.create_task(self._answer(socket, message))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        return socket

    async def _answer(self, socket: web.WebSocketResponse, message: envelope.ClientMessage) -> None:
        if message.WhichOneof("payload") == "create_session":
            made = chat.SessionInfo(id=f"c{message.request_id}")
            answer = envelope.ServerMessage(
                request_id=message.request_id, end=True, session_info=made
            )
            await socket.send_bytes(answer.SerializeToString())
        elif message.WhichOneof("payload") == "send_message":
            await self._reply(socket, message.request_id, message.send_message)

    async def _reply(
        self, socket: web.WebSocketResponse, request_id: int, prompt: chat.SendMessageRequest
    ) -> None:
        store, said = self._store, []
        if store is not None:
            await store.add(prompt.session_id, "user_text", prompt.text)
        messages = [{"role": "user", "content": prompt.text}]
        body = {"model": "m", "stream": True, "messages": messages}
        async with self._http.post(self._url, json=body) as response:
            async for line in response.content:
                if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                    continue
                choices = json.loads(line[6:])["choices"]
                text = choices and choices[0]["delta"].get("content")
                if text:
                    token = chat.ChatToken(text=text)
                    answer = envelope.ServerMessage(request_id=request_id, token=token)
                    await socket.send_bytes(answer.SerializeToString())
                    if store is not None:
                        said.append(text)
        if store is not None:
            await store.add(prompt.session_id, "assistant_text", "".join(said))
        completed = chat.ChatCompleted()
        answer = envelope.ServerMessage(request_id=request_id, end=True, completed=completed)
        await socket.send_bytes(answer.SerializeToString())


async def main() -> None:
    """Listen on a free port."""
    keeps = sys.argv[2:3]
    store = Store(keeps == ["threaded"]) if keeps else None
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        await listen(Relay(os.environ[_URL], http, store).serve)


if __name__ == "__main__":
    run(main())
