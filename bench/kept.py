"""Measure what it costs to show conversations, by the messages in the database.

`python -m bench.kept PYTHON` measures it alone. Half of the messages are in one long conversation,
the others in conversations of ten. A client asks a service on another core, over a socket, and each
figure is what it waits: the median of many calls, the best of three service processes.
"""

import json
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import uvloop

from bench.contestants import OURS
from bench.process import TOKEN, ServerProcess
from callboard.v1.chat_pb2 import (
    ConversationEvent,
    FollowSessionRequest,
    GetHistoryRequest,
    History,
    ListSessionsRequest,
    SessionList,
    TurnState,
)
from callboard_service.make_backend import ECHO
from callboard_service.store.store import ConversationStore
from transport.client import Client, by_url
from transport.client.calls import ClientSettings

SIZES: Final = (1000, 10_000, 100_000, 1_000_000)
PAGE: Final = 20
LONG: Final = "the-long-one"
_SHORT: Final = 10
_CALLS: Final = 200
_ROUNDS: Final = 3
_BEGAN: Final = 1_700_000_000_000_000
"""Time of the first message, in microseconds since 1970."""

NAMES: Final = (
    f"kept messages: us for a list of {PAGE}",
    f"kept messages: us for {PAGE} of the long one",
    "kept messages: us to follow the long one",
    "kept messages: us to follow it first",
)


async def by_kept(interpreter: Path) -> dict[str, dict[int, float]]:
    """Return the microseconds of each kind of call at each size."""
    found: dict[str, dict[int, float]] = {name: {} for name in NAMES}
    for size in SIZES:
        with TemporaryDirectory(prefix="callboard-bench-") as folder:
            data = Path(folder)
            await _fill(data / ECHO, size)
            rounds = [await _round(interpreter, data) for _ in range(_ROUNDS)]
        for name, costs in zip(NAMES, zip(*rounds, strict=True), strict=True):
            found[name][size] = round(min(costs))
            sys.stderr.write(f"{name}: {size}: {found[name][size]}\n")
    return found


async def _fill(file: Path, size: int) -> None:
    """Make a database with this many messages: the store's schema, and rows in bulk."""
    await (await ConversationStore.open(file, report=print)).close()
    with closing(sqlite3.connect(file)) as database, database:
        conversations = [(LONG, size // 2)]
        conversations += [(f"short-{n}", _SHORT) for n in range(size // 2 // _SHORT)]
        database.executemany(
            "INSERT INTO conversations (id, title, created_at, updated_at) VALUES (?, ?, ?, ?)",
            ((name, name, _BEGAN, _BEGAN + n) for n, (name, _) in enumerate(conversations)),
        )
        lengths = [(key, length) for key, (_, length) in enumerate(conversations, start=1)]
        database.executemany(
            "INSERT INTO entries (conversation, at, kind, text, turn) VALUES (?, ?, ?, ?, ?)",
            _entries(lengths),
        )
        database.executemany(
            "INSERT INTO turns (conversation, id, state, place, model, detached)"
            " VALUES (?, ?, ?, 0, '', 0)",
            _turns(lengths),
        )


def _entries(lengths: list[tuple[int, int]]) -> Iterator[tuple[int, int, str, str, str]]:
    for key, length in lengths:
        for number in range(length):
            kind = "assistant_text" if number % 2 else "user_text"
            yield key, _BEGAN + number, kind, "x" * 100, f"turn-{number // 2}"


def _turns(lengths: list[tuple[int, int]]) -> Iterator[tuple[int, str, int]]:
    for key, length in lengths:
        for number in range(length // 2):
            yield key, f"turn-{number}", TurnState.TURN_STATE_COMPLETED


async def _round(interpreter: Path, data: Path) -> tuple[float, ...]:
    """Return the microseconds of each kind of call, in the order of NAMES, in a new process."""
    with ServerProcess(OURS, interpreter, 1, data) as server:
        settings = ClientSettings(features=("follow",))
        async with Client(by_url(server.url, TOKEN), settings) as client:
            limits = count()

            async def page_of_list() -> None:
                # The service remembers the last page that it made; each has another length.
                request = ListSessionsRequest(limit=PAGE + next(limits) % 2)
                await client.call(request, SessionList)

            async def page_of_history() -> None:
                await client.call(GetHistoryRequest(session_id=LONG, limit=PAGE), History)

            async def follow() -> None:
                request = FollowSessionRequest(session_id=LONG)
                async with client.stream(request, ConversationEvent) as events:
                    await anext(aiter(events))

            first = await _timed(follow)
            calls = page_of_list, page_of_history, follow
            return *[await _cost(call) for call in calls], first


async def _cost(call: Callable[[], Awaitable[None]]) -> float:
    return median([await _timed(call) for _ in range(_CALLS)])


async def _timed(call: Callable[[], Awaitable[None]]) -> float:
    """Return the microseconds of one call."""
    before = time.perf_counter()
    await call()
    return (time.perf_counter() - before) * 1e6


if __name__ == "__main__":
    print(json.dumps(uvloop.run(by_kept(Path(sys.argv[1]).absolute())), indent=1))
