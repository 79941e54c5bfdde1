"""The good client, in a process of its own: `python -m tests.torture.good`.

Standard input: one line of JSON (url, token, seed, trace, backend), then commands. `settle`: send
no new request, wait until none is open, and print how many still are. `stop`: end.
"""

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from random import Random
from time import monotonic
from typing import Final

from google.protobuf.any_pb2 import Any as Packed
from websockets.exceptions import WebSocketException

from callboard.v1.chat_pb2 import (
    CreateSessionRequest,
    DeleteSessionRequest,
    GetHistoryRequest,
    ListSessionsRequest,
    SendMessageRequest,
)
from callboard.v1.envelope_pb2 import ServerMessage
from callboard.v1.session_pb2 import Hello
from callboard.v1.system_pb2 import ServiceStatusRequest
from tests.torture.checks import REQUEST_TIME
from tests.torture.good_session import PAUSE, Open, Recorder, Refused, Session, greet
from tests.torture.trace import NEWCOMER, Event, write

TICK: Final = 0.05
LATE: Final = 0.05
"""Seconds by which the client's own timer may be late before that is recorded."""

WORKERS: Final = 6
MOST_OPEN: Final = 64
PATIENCE: Final = 5.0
"""Seconds after which a worker turns to other work, and leaves the request open."""

REPLY_MS: Final = 20_000


class Good:
    """Sends requests as a user interface does, in random order."""

    def __init__(self, url: str, token: str, draw: Random, backend: str) -> None:
        self.record = Recorder()
        self.session = Session(url, token, self.record)
        self.settling = False
        self._url = url
        self._token = token
        self._draw = draw
        self._echo = backend == "echo"
        self._conversations: list[str] = []

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.session.run())
            group.create_task(self._come_anew())
            group.create_task(self._tick())
            for _ in range(WORKERS):
                group.create_task(self._work())

    async def _tick(self) -> None:
        """Record each span in which this process was not scheduled."""
        while True:
            due = monotonic() + TICK
            await asyncio.sleep(TICK)
            if (now := monotonic()) > due + LATE:
                self.record(Event("late", due, until=now))

    async def _come_anew(self) -> None:
        hello = Hello(token=self._token, protocol_version=1, client_name="newcomer")
        while True:
            self.record(Event("try", monotonic(), NEWCOMER))
            try:
                socket, _ = await greet(self._url, hello, 2.0)
            except (OSError, TimeoutError, WebSocketException, Refused):
                await asyncio.sleep(PAUSE)
                continue
            self.record(Event("answer", monotonic(), NEWCOMER))
            with suppress(OSError, TimeoutError, WebSocketException):
                await socket.close()
            await asyncio.sleep(self._draw.uniform(0.3, 1.0))

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(self._draw.uniform(0.02, 0.3))
            if not self.settling and self.session.outstanding < MOST_OPEN:
                await self._do_something()

    async def _do_something(self) -> None:
        if len(self._conversations) < 2:
            await self._create()
            return
        conversation = self._draw.choice(self._conversations)
        match self._draw.choice(("create", "list", "status", "history", *["talk"] * 3, "delete")):
            case "create" if len(self._conversations) < 6:
                await self._create()
            case "list":
                await self._ask("list", list_sessions=ListSessionsRequest(limit=20))
            case "status":
                await self._ask("status", call=_packed_status())
            case "history":
                request = GetHistoryRequest(session_id=conversation, limit=20)
                await self._ask("history", get_history=request)
            case "delete" if len(self._conversations) > 3:
                self._conversations.remove(conversation)
                await self._ask(
                    "delete", delete_session=DeleteSessionRequest(session_id=conversation)
                )
            case _:
                await self._talk(conversation)

    async def _create(self) -> None:
        created = await self._ask("create", create_session=CreateSessionRequest(title="good"))
        if created is not None and created.HasField("session_info"):
            self._conversations.append(created.session_info.id)

    async def _ask(self, what: str, **payload: object) -> ServerMessage | None:
        _, request = await self.session.begin(what, 0, **payload)
        return await _wait(request)

    async def _talk(self, conversation: str) -> None:
        text = "Say one short sentence about a lighthouse."
        if self._echo:
            text = f"[[delay:{self._draw.choice((0, 5))}]][[repeat:{self._draw.randrange(100)}]]"
        message = SendMessageRequest(session_id=conversation, text=text)
        number, request = await self.session.begin("chat", REPLY_MS, send_message=message)
        if self._draw.random() < 0.5:
            await _wait(request, self._draw.uniform(0.0, 1.0))
            await self.session.cancel(number, request)
        ended = await _wait(request)
        if ended is not None and ended.error.code == "NOT_FOUND":
            with suppress(ValueError):
                self._conversations.remove(conversation)

    async def settle(self) -> int:
        """Send no new request, wait for the open ones, and return how many are left."""
        self.settling = True
        end = monotonic() + REQUEST_TIME + 2.0
        while self.session.outstanding and monotonic() < end:  # noqa: ASYNC110  # ends in any order
            await asyncio.sleep(TICK)
        return self.session.outstanding


async def _wait(request: Open, patience: float = PATIENCE) -> ServerMessage | None:
    """Return the request's last frame; None: its session was lost, or it is still open."""
    await asyncio.wait([request.ended], timeout=patience)
    return request.ended.result() if request.ended.done() else None


def _packed_status() -> Packed:
    packed = Packed()
    packed.Pack(ServiceStatusRequest(max_children=5))
    return packed


async def main() -> None:
    """Read the commands and carry them out."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    wish = json.loads(await commands.readline())
    good = Good(wish["url"], wish["token"], Random(wish["seed"]), wish["backend"])
    trace = Path(wish["trace"])
    running = asyncio.create_task(good.run())
    try:
        while (command := await _next(commands, good, trace)) not in (b"stop\n", b""):
            if command == b"settle\n":
                print(await good.settle(), flush=True)
    finally:
        running.cancel()
        await asyncio.wait([running])
        write(trace, good.record.take())


async def _next(commands: asyncio.StreamReader, good: Good, trace: Path) -> bytes:
    """Return the next command, and write the trace meanwhile."""
    reading = asyncio.ensure_future(commands.readline())
    while not reading.done():
        await asyncio.wait([reading], timeout=1.0)
        write(trace, good.record.take())
    return reading.result()


if __name__ == "__main__":
    asyncio.run(main())
