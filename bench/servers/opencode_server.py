"""A scripted OpenCode server: a fake that has the parts of its interface that a reply needs.

The message says what the reply is, as for `model_server`, whose clock its tokens have too. Its
events come as OpenCode 1.18.33 sends them: all conversations in one stream of server-sent events.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from aiohttp import web

from bench.servers.model_server import SCRIPT, WRAP
from bench.servers.process import run, serve

Json: TypeAlias = Mapping[str, object]

_DIRECTORY: Final = "/bench"
_HEARTBEAT: Final = 10.0
"""Seconds between signs of life in a stream of events."""

_FIXED: Final[Mapping[str, object]] = {
    "/global/health": {"healthy": True, "version": "1.18.33"},
    "/path": {"directory": _DIRECTORY},
    "/config/providers": {"providers": [{"id": "p", "models": {"m": {}}}], "default": {"p": "m"}},
    "/agent": [{"name": "build", "mode": "primary"}],
    "/config": {},
    "/command": [],
    "/permission": [],
    "/question": [],
}


class OpenCodeServer:
    """Its conversations, and the streams of their events."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._streams: list[web.StreamResponse] = []
        self._replies: set[asyncio.Task[None]] = set()
        self._messages: dict[str, list[Json]] = {}
        """Those of each conversation with a reply."""
        self._busy: dict[str, Json] = {}

    def application(self) -> web.Application:
        """Return what answers the requests."""
        app = web.Application()
        for path, answer in _FIXED.items():
            app.router.add_get(path, _always(answer))
        app.router.add_get("/event", self._events)
        app.router.add_post("/session", self._create)
        app.router.add_get("/session/status", self._status)
        app.router.add_get("/session/{name}", self._session)
        app.router.add_get("/session/{name}/children", _always([]))
        app.router.add_get("/session/{name}/message", self._list)
        app.router.add_post("/session/{name}/prompt_async", self._prompt)
        return app

    async def _create(self, request: web.Request) -> web.Response:
        return web.json_response(_info(f"ses_{next(self._numbers):026d}"))

    async def _session(self, request: web.Request) -> web.Response:
        return web.json_response(_info(request.match_info["name"]))

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(self._busy)

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response(self._messages.get(request.match_info["name"], []))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(_event("server.connected", {}))
        self._streams.append(stream)
        try:
            while True:
                await asyncio.sleep(_HEARTBEAT)
                await stream.write(_event("server.heartbeat", {}))
        finally:
            self._streams.remove(stream)

    async def _prompt(self, request: web.Request) -> web.Response:
        message = await request.json()
        name = request.match_info["name"]
        script = SCRIPT.search(message["parts"][0]["text"])
        assert script is not None
        tokens, pause, _ = map(int, script.groups())
        reply = self._reply(name, message["messageID"], tokens, pause / 1000)
        task = asyncio.create_task(reply)
        self._replies.add(task)
        task.add_done_callback(self._replies.discard)
        return web.Response(status=204)

    async def _reply(self, name: str, asked: str, tokens: int, pause: float) -> None:
        """Send the events of a reply. pause: seconds between its tokens."""
        number = next(self._numbers)
        message_id, part_id = f"msg_{number:026d}", f"prt_{number:026d}"
        of = {"sessionID": name, "messageID": message_id}
        began = _milliseconds()
        user = {"id": asked, "sessionID": name, "role": "user", "time": {"created": began}}
        answer = {
            "id": message_id, "sessionID": name, "role": "assistant", "parentID": asked,
            "providerID": "p", "modelID": "m", "time": {"created": began},
        }  # fmt: skip
        text = {"id": part_id, **of, "type": "text", "text": "", "time": {"start": began}}
        self._busy[name] = {"type": "busy"}
        self._messages[name] = [{"info": user, "parts": []}, {"info": answer, "parts": [text]}]
        await self._send(
            _event("session.status", {"sessionID": name, "status": {"type": "busy"}}),
            _event("message.updated", {"sessionID": name, "info": user}),
            _event("message.updated", {"sessionID": name, "info": answer}),
            _event("message.part.updated", {"sessionID": name, "part": text}),
        )
        loop = asyncio.get_running_loop()
        at, said = loop.time(), []
        for _ in range(tokens):
            said.append(f" {time.monotonic_ns() // 1000 % WRAP:07d}")
            delta = {**of, "partID": part_id, "field": "text", "delta": said[-1]}
            await self._send(_event("message.part.delta", delta))
            at += pause
            await asyncio.sleep(max(0.0, at - loop.time()))
        ended = _milliseconds()
        whole = {**text, "text": "".join(said), "time": {"start": began, "end": ended}}
        done = {**answer, "time": {"created": began, "completed": ended}, "finish": "stop"}
        self._messages[name] = [{"info": user, "parts": []}, {"info": done, "parts": [whole]}]
        del self._busy[name]
        await self._send(
            _event("message.part.updated", {"sessionID": name, "part": whole}),
            _event("message.updated", {"sessionID": name, "info": done}),
            _event("session.status", {"sessionID": name, "status": {"type": "idle"}}),
            _event("session.idle", {"sessionID": name}),
        )

    async def _send(self, *events: bytes) -> None:
        for stream in self._streams:
            await stream.write(b"".join(events))


def _always(answer: object) -> Callable[[web.Request], Awaitable[web.Response]]:
    body = json.dumps(answer).encode()

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return handle


def _event(kind: str, properties: Json) -> bytes:
    event = {"id": f"evt_{0:026d}", "type": kind, "properties": properties}
    return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"


def _info(name: str) -> Json:
    now = _milliseconds()
    return {
        "id": name, "title": "t", "directory": _DIRECTORY, "time": {"created": now, "updated": now},
    }  # fmt: skip


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


async def main() -> None:
    """Listen on a free port."""
    runner = web.AppRunner(OpenCodeServer().application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await serve(runner.addresses[0][1], "http")


if __name__ == "__main__":
    run(main())
