"""The workloads for a server that speaks callboard.v1 over a WebSocket.

Each returns a Sample that counts the server's messages. Connections are opened before the clock
starts.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import BytesValue

from bench.drive import Frames, drive
from bench.process import TOKEN
from bench.websocket import Lost, Socket, connect, frame
from callboard.v1.chat_pb2 import CreateSessionRequest, SendMessageRequest
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.session_pb2 import Ack, Credit

PAYLOAD: Final = bytes(58)
ACK_EVERY: Final = 1024
"""Answers; less than half of the replay buffer, see Hello.acknowledges."""


@dataclass(slots=True)
class Target:
    """A server as a workload sees it."""

    url: str
    ours: bool
    credit: int = 0


@dataclass(slots=True)
class Sample:
    """The result of one run. cpu, wall: seconds. latencies: seconds, sorted."""

    messages: int
    cpu: float = 0.0
    wall: float = 0.0
    latencies: list[float] = field(default_factory=list)


_REQUEST_ID: Final = 0x08
"""The tag of ServerMessage.request_id; its value is below 128 in a run, so it takes one byte."""

Clock: TypeAlias = Callable[[], float]
Workload: TypeAlias = Callable[[Target, Clock], Awaitable[Sample]]


class Client(Socket):
    """Acknowledges answers, for a server that keeps unacknowledged ones."""

    def __init__(self, acknowledges: bool) -> None:
        super().__init__()
        self._acknowledges = acknowledges
        self._acknowledged = 1

    def on_answers(self, count: int) -> None:
        """Acknowledge every ACK_EVERY messages. All but the Welcome have a sequence number."""
        if self._acknowledges and self.seen - self._acknowledged >= ACK_EVERY:
            self._acknowledged = self.seen
            self.send(frame(ClientMessage(ack=Ack(sequence=self.seen - 1))))


class Timer(Client):
    """One request in flight at a time, each timed."""

    def __init__(self, acknowledges: bool, requests: list[bytes]) -> None:
        super().__init__(acknowledges)
        self.latencies: list[float] = []
        self._requests = requests
        self._position = 0
        self._began = 0.0

    def begin(self) -> None:
        """Send the first request."""
        self._send_next()

    def on_answers(self, count: int) -> None:
        """Record the time and send the next request."""
        super().on_answers(count)
        if self._position:
            self.latencies.append(time.perf_counter() - self._began)
            self._send_next()

    def _send_next(self) -> None:
        if self._position < len(self._requests):
            self._position += 1
            self._began = time.perf_counter()
            self.send(self._requests[self._position - 1])


class Listener(Client):
    """Reads streams and keeps each of them in credit."""

    def __init__(self, acknowledges: bool, credit: int) -> None:
        super().__init__(acknowledges)
        self.reads = credit > 0
        self._credit = credit
        self._left: dict[int, tuple[int, int]] = {}

    def on_message(self, message: bytes) -> None:
        """Grant the stream more credit when half of it is used."""
        if message[0] != _REQUEST_ID:
            return
        request_id = message[1]
        used, granted = self._left.get(request_id, (0, self._credit))
        used += 1
        if granted - used <= self._credit // 2:
            granted = used + self._credit
            grant = Credit(limit=granted)
            self.send(frame(ClientMessage(request_id=request_id, credit=grant)))
        self._left[request_id] = (used, granted)


def calls(first: int, count: int, payload: bytes = PAYLOAD) -> list[bytes]:
    """Return `count` encoded unary requests, with ids from `first` on."""
    packed = Any()
    packed.Pack(BytesValue(value=payload))
    return [
        frame(ClientMessage(request_id=request_id, call=packed))
        for request_id in range(first, first + count)
    ]


async def conversations(socket: Socket, count: int) -> list[str]:
    """Create `count` conversations, with the first request ids of the session; return their ids."""
    names = []
    for request_id in range(1, count + 1):
        request = CreateSessionRequest()
        socket.send(frame(ClientMessage(request_id=request_id, create_session=request)))
        await socket.until(socket.seen + 1)
        answer = ServerMessage.FromString(socket.last)
        if answer.WhichOneof("payload") != "session_info":
            raise Lost(f"no conversation: {answer}")
        names.append(answer.session_info.id)
    return names


def one_socket(count: int, in_flight: int, payload: bytes = PAYLOAD) -> Workload:
    """Return W1: unary requests on one socket."""
    return _driven(1, in_flight, calls(1, count, payload))


def many_sockets(sockets: int, each: int) -> Workload:
    """Return W3: many sockets, each with one request in flight."""
    return _driven(sockets, 1, calls(1, each))


def _driven(sockets: int, in_flight: int, requests: list[bytes]) -> Workload:
    """Return a workload of the same requests on each socket, whose client is written in C."""

    async def run(target: Target, clock: Clock) -> Sample:
        clients = [await connect(target.url, TOKEN, Socket) for _ in range(sockets)]
        descriptors = [client.hand_over() for client in clients]
        acks = _acks(len(requests)) if target.ours else []
        frames, acknowledgements = Frames(requests), Frames(acks)
        every = ACK_EVERY if target.ours else 0
        cpu, wall = clock(), time.perf_counter()
        lasts = drive(descriptors, frames, in_flight, acknowledgements, every)
        count = sockets * len(requests)
        sample = Sample(count, clock() - cpu, time.perf_counter() - wall)
        for client, last in zip(clients, lasts, strict=True):
            _check_end(last)
            client.close()
        await asyncio.sleep(0.1)
        return sample

    return run


def _acks(answers: int) -> list[bytes]:
    """Return the acknowledgements of so many answers to one session."""
    return [
        frame(ClientMessage(ack=Ack(sequence=sequence)))
        for sequence in range(ACK_EVERY, answers + 1, ACK_EVERY)
    ]


def streams(tokens: int, at_once: int) -> Workload:
    """Return W2: replies of `tokens` tokens, each in its own conversation, on one socket."""

    async def run(target: Target, clock: Clock) -> Sample:
        listener = await connect(
            target.url, TOKEN, lambda: Listener(target.ours, target.credit), credit=target.credit
        )
        names = await conversations(listener, at_once)
        text = f"[[repeat:{tokens}]]"
        first = at_once + 1
        requests = b"".join(
            frame(
                ClientMessage(
                    request_id=first + place,
                    send_message=SendMessageRequest(session_id=name, text=text),
                )
            )
            for place, name in enumerate(names)
        )
        expected = (tokens + 1) * at_once
        cpu, wall = clock(), time.perf_counter()
        listener.send(requests)
        await listener.until(listener.seen + expected)
        sample = Sample(expected, clock() - cpu, time.perf_counter() - wall)
        _check_end(listener.last)
        listener.close()
        return sample

    return run


def latency(count: int) -> Workload:
    """Return the latency workload: one request at a time."""

    async def run(target: Target, clock: Clock) -> Sample:
        requests = calls(1, count)
        timer = await connect(target.url, TOKEN, lambda: Timer(target.ours, requests))
        cpu, wall = clock(), time.perf_counter()
        timer.begin()
        await timer.until(1 + count)
        sample = Sample(count, clock() - cpu, time.perf_counter() - wall, sorted(timer.latencies))
        timer.close()
        return sample

    return run


def _check_end(last: bytes) -> None:
    answer = ServerMessage.FromString(last)
    if not answer.end or answer.WhichOneof("payload") == "error":
        raise Lost(f"the run did not end as it should: {answer}")
