"""The cost of a message, in counts that are the same on every run; nothing is timed.

The tests count what the service's own modules call, in Python and in C, while a connection is fed
with messages and writes to a fake transport. A bound is 1.1 times the measured count; the tests
also fail far below it, so that a change that makes the service cheaper lowers the bound.
"""

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from types import FrameType

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import Int32Value

import actors.protocol.gathering
import transport.server.connection
from actors import RequestActor, StreamActor, Yielded
from actors.protocol.gathering import SEVERAL
from actors.runtime.eager import EAGER
from actors.testing import settle
from callboard.v1.chat_pb2 import CreateSessionRequest, SendMessageRequest
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.session_pb2 import Ack
from callboard_service.load_settings import load
from callboard_service.log import make_log
from callboard_service.loop import share_interpreter
from callboard_service.service import Service
from tests.support.fed import TOKEN, Fed, connected
from tests.support.garbage import garbage
from tests.support.openai.scripted_server import scripted
from tests.support.relayed import TOKEN as RELAYED_TOKEN
from tests.support.relayed import Relayed, beginning

SOURCES = str(Path(transport.server.connection.__file__).parents[2])
BATCH = 64
TOKENS = 5000

SECOND = Duration(seconds=1)
ANSWERED_BY: dict[str, Duration | Timestamp] = {
    "a coroutine function": SECOND,
    "a plain function": Timestamp(seconds=1),
}

MEASURED = {  # calls
    "a coroutine function": 48.33 if EAGER else 65.31,  # a unary request in a batch
    "a plain function": 44.39,
    # A token goes through the turn's record and its conversation's log (ADR 55, 59 and 62).
    "in a burst": 0.34,
    "one by one": 54.27,
    "one by one, of several streams": 42.13,
}

RELAYED = {1: 55.05, SEVERAL - 1: 44.22}
"""Calls for each token of so many replies of a model server, whose tokens come in the same turn.

Of these, six are made in place of aiohttp's parser and what it calls, and eight in place of a
message that is made, read and serialized, which are fewer calls but take longer.
"""

RELAYED_BLOCKS = 6.04
"""Blocks of memory that a relayed token leaves until it is acknowledged and the turn has ended."""


class Same(RequestActor[Duration, Duration]):
    async def handle(self, request: Duration) -> Duration:
        return request


class SamePlainly(RequestActor[Timestamp, Timestamp]):
    def handle(self, request: Timestamp) -> Timestamp:
        return request


class Counting(StreamActor[Int32Value, Int32Value]):
    """Streams this many answers, each after a turn of the event loop."""

    async def handle(self, request: Int32Value) -> AsyncIterator[Yielded[Int32Value]]:
        for number in range(request.value):
            await asyncio.sleep(0)
            yield Int32Value(value=number)


@pytest.fixture
def shared() -> Iterator[None]:
    """Let the store's thread run while a test polls, by the service's own switch interval."""
    before = sys.getswitchinterval()
    share_interpreter()
    yield
    sys.setswitchinterval(before)


def service(folder: Path, monkeypatch: pytest.MonkeyPatch, **more: object) -> Service:
    """Make a service without limits, with these settings."""
    monkeypatch.setenv("CALLBOARD_TOKEN", TOKEN)
    limits = {"messages_per_second": 0, "bytes_per_second": 0, "resume_buffer_messages": 100_000}
    settings = {"log_level": "error", "runtime_dir": folder, **limits, **more}
    return Service(load(settings), make_log("error"))


@pytest.fixture
async def fed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: None) -> AsyncIterator[Fed]:
    made = service(tmp_path, monkeypatch, backend="echo")
    made.registry.register(Duration, Same)
    made.registry.register(Timestamp, SamePlainly)
    made.registry.register(Int32Value, Counting)
    async with connected(made) as fed:
        fed.feed(*fed.calls(BATCH, SECOND))
        await settle()
        fed.answers()
        yield fed


@pytest.fixture
async def relayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: None
) -> AsyncIterator[tuple[Fed, Relayed]]:
    """A service whose model server's bytes are fed by the test."""
    async with scripted() as server:
        server.will(*[beginning] * SEVERAL)
        made = service(
            tmp_path,
            monkeypatch,
            backend="openai",
            data_dir=tmp_path / "data",
            openai_base_url=f"{server.url}/v1",
            openai_model="m",
        )
        async with connected(made) as fed:
            yield fed, Relayed(fed, monkeypatch)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the calls of the service's own functions, and their calls of C functions, by name."""
    counts: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if not frame.f_code.co_filename.startswith(SOURCES):
            return
        if event == "call":
            counts[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            counts[getattr(argument, "__qualname__", "?")] += 1

    sys.setprofile(note)
    try:
        yield counts
    finally:
        sys.setprofile(None)


def within(counts: Counter[str], units: int, measured: float) -> None:
    each = counts.total() / units
    assert each <= 1.1 * measured, f"{each:.2f} calls: {counts.most_common(40)}"
    assert each > 0.8 * measured, f"{each:.2f} calls, far below {measured}: lower the bound"


@pytest.mark.parametrize("answered_by", ANSWERED_BY)
async def test_calls_of_a_unary_request(fed: Fed, answered_by: str) -> None:
    requests = fed.calls(10 * BATCH, ANSWERED_BY[answered_by])
    with counted() as counts:
        for start in range(0, len(requests), BATCH):
            fed.feed(*requests[start : start + BATCH])
            await settle()
    assert [answer.request_id for answer in fed.answers()] == [
        request.request_id for request in requests
    ]
    within(counts, len(requests), MEASURED[answered_by])


async def test_a_batch_of_requests_is_one_write(fed: Fed) -> None:
    fed.feed(*fed.calls(BATCH, SECOND))
    await settle()
    assert len(fed.transport.written) == 1
    assert len(fed.answers()) == BATCH


async def streams(
    fed: Fed, text: str, count: Callable[[], object], at_once: int = 1
) -> list[ServerMessage]:
    """Let this many conversations reply to a text at once; call `count` right before."""
    requests = []
    for _ in range(at_once):
        fed.feed(ClientMessage(request_id=fed.next_id(), create_session=CreateSessionRequest()))
        (made,) = await fed.finish()
        requests.append(SendMessageRequest(session_id=made.session_info.id, text=text))
    count()
    fed.feed(
        *(ClientMessage(request_id=fed.next_id(), send_message=request) for request in requests)
    )
    return await fed.finish(at_once)


@pytest.mark.parametrize("way", ["in a burst", "one by one", "one by one, of several streams"])
async def test_calls_of_a_token(fed: Fed, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise, the number of writes depends on timing.
    monkeypatch.setattr(actors.protocol.gathering, "GATHERED_FOR", inf)
    delay = "[[delay:0]]" if way.startswith("one by one") else ""
    at_once = 10 if way.endswith("streams") else 1
    each = TOKENS // at_once
    with counted() as counts:
        read = await streams(fed, f"{delay}[[repeat:{each}]]", counts.clear, at_once)
    assert len(read) == TOKENS + at_once
    within(counts, TOKENS, MEASURED[way])


async def test_writes_of_a_thousand_tokens(fed: Fed) -> None:
    writes = []
    write = fed.transport.write

    def note(data: bytes | bytearray | memoryview) -> None:
        writes.append(len(data))
        write(data)

    fed.transport.write = note  # type: ignore[method-assign]  # records the size, then writes
    read = await streams(fed, "[[repeat:1000]]", writes.clear)
    assert len(read) == 1001
    assert len(writes) <= 4


@pytest.mark.parametrize("streams", [2, 2 * SEVERAL], ids=["few", "several"])
async def test_writes_of_streams_that_wait_for_each_turn(fed: Fed, streams: int) -> None:
    turns = 100
    packed = AnyMessage()
    packed.Pack(Int32Value(value=turns))
    fed.feed(*(ClientMessage(request_id=fed.next_id(), call=packed) for _ in range(streams)))
    read: list[ServerMessage] = []
    writes = 0
    while sum(answer.end for answer in read) < streams:
        await asyncio.sleep(0)
        writes += len(fed.transport.written)
        read += fed.answers()
    assert len(read) == streams * (turns + 1)
    first = read[0].sequence
    assert [answer.sequence for answer in read] == [*range(first, first + len(read))]
    if streams < SEVERAL:
        assert writes >= turns
    else:  # how many turns are gathered depends on timing, but at least two
        assert writes <= turns / 2 + 5


@pytest.mark.parametrize("payload", ANSWERED_BY.values(), ids=ANSWERED_BY)
async def test_a_request_leaves_nothing_for_the_collector(
    fed: Fed, payload: Duration | Timestamp
) -> None:
    requests = fed.calls(10 * BATCH, payload)
    gc.collect()
    gc.disable()
    try:
        fed.feed(*requests[:BATCH])
        await settle()
        before = gc.collect()
        fed.feed(*requests[BATCH:])
        await settle()
        left = gc.collect()
    finally:
        gc.enable()
    # An actor leaves a few objects, and each request is an actor if tasks are not eager.
    assert left <= (before if EAGER else 6 * len(requests))
    assert len(fed.answers()) == len(requests)
    fed.feed(ClientMessage(ack=Ack(sequence=len(requests))))


@pytest.mark.parametrize("replies", RELAYED, ids="replies: {}".format)
async def test_calls_of_a_relayed_token(relayed: tuple[Fed, Relayed], replies: int) -> None:
    """Count from the read of a chunk to the write of the frame.

    Nothing here depends on time: a token is fed as one read, and the loop then makes one turn. The
    half call of slack is for what happens once a reply or once a second.
    """
    fed, model = relayed
    await model.begin(replies)
    turns = 1000 // replies
    with counted() as counts:
        for _ in range(turns):
            await model.pass_on()
    each = counts.total() / (turns * replies)
    read = fed.answers() + await model.end()
    assert sum(answer.HasField("token") for answer in read) == turns * replies
    assert each <= RELAYED[replies] + 0.5, f"{each:.2f} calls: {counts.most_common(60)}"
    assert each > RELAYED[replies] - 3, f"{each:.2f} calls: lower the bound"


@pytest.mark.parametrize("replies", RELAYED, ids="replies: {}".format)
async def test_a_turn_of_the_loop_is_one_write_of_relayed_tokens(
    relayed: tuple[Fed, Relayed], replies: int
) -> None:
    """A write to the transport is a system call; all replies of a connection share it.

    There are fewer replies than `SEVERAL`, from which on tokens of several turns are gathered. A
    token is written in the turn of the loop in which it is read: there is no wait for a task.
    """
    fed, model = relayed
    await model.begin(replies)
    for _ in range(100):
        await model.pass_on()
        assert len(fed.transport.written) == 1
        assert len(fed.answers()) == replies
    await model.end()


async def test_tokens_of_one_read_are_one_write(relayed: tuple[Fed, Relayed]) -> None:
    fed, model = relayed
    await model.begin(1)
    await model.pass_on(RELAYED_TOKEN * 64)
    await settle()
    assert len(fed.transport.written) == 1
    assert len(fed.answers()) == 64
    await model.end()


async def test_memory_of_a_relayed_token(relayed: tuple[Fed, Relayed]) -> None:
    """Count the blocks that a token leaves behind, of which none may be garbage in a cycle.

    They are the token in the turn's record and in the conversation's log, and its answer in the
    replay buffer, since this client acknowledges none. The slack is for other threads. None is
    visited by the garbage collector after the first time, which would stop all replies meanwhile.
    """
    fed, model = relayed
    await model.begin(1)
    gc.collect()
    gc.disable()
    try:
        before, visited = sys.getallocatedblocks(), len(gc.get_objects())
        for _ in range(1000):
            await model.pass_on()
            fed.transport.written.clear()
        blocks = (sys.getallocatedblocks() - before) / 1000
        collected = gc.collect()
        visited = len(gc.get_objects()) - visited
    finally:
        gc.enable()
    await model.end()
    assert blocks <= RELAYED_BLOCKS + 0.5
    assert collected < 100  # what runs once in a while may leave a cycle; no token does
    assert visited < 100


async def test_a_reply_leaves_no_reference_cycle(relayed: tuple[Fed, Relayed]) -> None:
    """Else the collector would stop all replies to find what reference counts could have freed."""
    _, model = relayed
    await model.begin(2)
    await model.end()
    await settle()
    with garbage() as left:
        await model.begin(3)
        await model.pass_on()
        await model.end()
        await settle()
    assert not left
