"""The client of a relay: asks for replies over a WebSocket, and reads their tokens."""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.process import TOKEN
from bench.relay.sample import Sample
from bench.relay.workloads import Workload
from bench.servers.model_server import WRAP
from bench.websocket import connect, frame
from bench.workloads import Client, conversations
from callboard.v1.chat_pb2 import FollowSessionRequest, SendMessageRequest
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.session_pb2 import Credit

_REQUEST_ID: Final = 0x08
_SEQUENCE: Final = 0x10
_TOKEN: Final = b"\xa2\x01"
"""The tags of ServerMessage.request_id, sequence and token."""

_SETTLED: Final = 0.1
"""Seconds of rest before each reading of the CPU clocks: what a reply leaves to do is its cost."""

Ask = Callable[[int], None]
"""Ask for the reply of this number."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Return the CPU seconds that a process has used: the relay's, and the model server's."""

    server: Callable[[], float]
    model_server: Callable[[], float]


class Reader(Client):
    """Reads tokens: only the first bytes of each message, and the clock in a paced token.

    credit: the limit of answers that a reply may be ahead; 0: none.
    """

    reads = True

    def __init__(self, acknowledges: bool, paced: bool = False, credit: int = 0) -> None:
        super().__init__(acknowledges)
        self.tokens = 0
        self.first: list[float] = []
        self.latencies: list[int] = []
        self.asked: dict[int, float] = {}
        """When each reply without a token so far was asked for, by request id."""
        self.ended = 0
        self.counts = False
        """Whether answers are tokens and ends of replies, from now on."""
        self._paced = paced
        self._credit = credit
        self._used: dict[int, int] = {}
        self._awaited = 0
        self._now = 0.0
        self._microseconds = 0

    async def until_ended(self, replies: int) -> None:
        """Wait until this many replies have ended in total. Raises Lost."""
        self._awaited = replies
        if self.ended < replies:
            await self.until(sys.maxsize)

    def data_received(self, data: bytes) -> None:
        """Note the time, which is that of all messages in this data."""
        self._now = time.monotonic()
        self._microseconds = int(self._now * 1e6) % WRAP
        super().data_received(data)

    def on_message(self, message: bytes) -> None:
        """Count a token or an end."""
        if message[0] != _REQUEST_ID or not self.counts:
            return
        request_id, at = message[1], 2
        if request_id > 127:
            request_id, at = request_id & 127 | message[2] << 7, 3
        if message[at] == _SEQUENCE:
            at += 1
            while message[at] > 127:
                at += 1
            at += 1
        if message[at : at + 2] == _TOKEN:
            self.tokens += 1
            if request_id in self.asked:
                self.first.append(self._now - self.asked.pop(request_id))
            if self._paced:
                self.latencies.append((self._microseconds - int(message[-7:])) % WRAP)
            if self._credit:
                self._grant(request_id)
        else:
            self._end(message)

    def _grant(self, request_id: int) -> None:
        """Grant more credit for each half of it that a reply has used."""
        used = self._used[request_id] = self._used.get(request_id, 0) + 1
        if used % (self._credit // 2) == 0:
            grant = Credit(limit=used + self._credit)
            self.send(frame(ClientMessage(request_id=request_id, credit=grant)))

    def _end(self, message: bytes) -> None:
        answer = ServerMessage.FromString(message)
        if not answer.end:
            return
        if answer.WhichOneof("payload") != "completed":
            self._fail(f"a reply did not end as it should: {answer}")
        self.ended += 1
        if self.ended >= self._awaited > 0:
            self.be_done()


async def measured(
    workload: Workload, clocks: Clocks, ask: Ask, until_ended: Callable[[int], Awaitable[None]]
) -> Sample:
    """Ask for all replies of a workload and wait for their ends; return what it cost."""
    await asyncio.sleep(_SETTLED)
    cpu, model_server = clocks.server(), clocks.model_server()
    client, began = time.process_time(), time.monotonic()
    chosen = random.Random(workload.replies)
    times = sorted(chosen.random() * workload.over for _ in range(workload.replies))
    for number, at in enumerate(times):
        wait = began + at - time.monotonic()
        if workload.over and wait > 0:
            await asyncio.sleep(wait)
        ask(number)
        if workload.one_by_one:
            await until_ended(number + 1)
    await until_ended(workload.replies)
    sample = Sample(wall=time.monotonic() - began, client=time.process_time() - client)
    await asyncio.sleep(_SETTLED)
    sample.cpu = clocks.server() - cpu
    sample.model_server = clocks.model_server() - model_server
    return sample


async def relay(
    workload: Workload, url: str, clocks: Clocks, *, ours: bool, credit: int, followed: bool
) -> Sample:
    """Run a workload over one connection; `followed`: another one follows each conversation."""
    reader = await connect(
        url, TOKEN, lambda: Reader(ours, workload.pause > 0, credit), credit=credit
    )
    names = await conversations(reader, workload.replies)
    follower = await _follow(url, names) if followed else None
    reader.counts = True
    first = len(names) + 1
    requests = [
        frame(
            ClientMessage(
                request_id=first + number,
                send_message=SendMessageRequest(session_id=name, text=workload.text),
            )
        )
        for number, name in enumerate(names)
    ]

    def ask(number: int) -> None:
        reader.asked[first + number] = time.monotonic()
        reader.send(requests[number])

    sample = await measured(workload, clocks, ask, reader.until_ended)
    sample.tokens, sample.first = reader.tokens, reader.first
    sample.latencies = reader.latencies
    if follower is not None:
        if follower.seen < sample.tokens:
            raise RuntimeError(f"the follower got {follower.seen} of {sample.tokens} tokens")
        follower.close()
    reader.close()
    return sample


async def _follow(url: str, names: Sequence[str]) -> Client:
    """Follow these conversations on a connection of their own, and only count what comes."""
    follower = await connect(url, TOKEN, lambda: Client(True), features=("follow",))
    for request_id, name in enumerate(names, start=1):
        request = FollowSessionRequest(session_id=name)
        follower.send(frame(ClientMessage(request_id=request_id, follow_session=request)))
    await follower.until(1 + len(names))  # the Welcome, and a snapshot of each
    return follower
