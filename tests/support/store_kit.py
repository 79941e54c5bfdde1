"""Helpers for the tests of the conversation store."""

import itertools
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from callboard.v1.chat_pb2 import HistoryEntry, SessionInfo
from callboard_service.store.store import ConversationStore, StoreRefused

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ASIDE = "conversations.db.damaged-20260301T120000Z"


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Stores:
    """Opens stores on one path, and closes all of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.reports: list[str] = []
        self._opened: list[ConversationStore] = []
        self._numbers = itertools.count(1)

    async def open(self, *, busy_timeout: float = 5.0) -> ConversationStore:
        store = await ConversationStore.open(
            self.path,
            clock=self.clock,
            new_id=lambda: f"c{next(self._numbers)}",
            report=self.reports.append,
            busy_timeout=busy_timeout,
        )
        self._opened.append(store)
        return store

    async def close(self) -> None:
        for store in self._opened:
            await store.close()

    async def make(self, *texts: str) -> str:
        """Make a database with one conversation of these texts, close it, and return the id."""
        store = await self.open()
        conversation = await store.create("first")
        await store.append(conversation.id, *(user(text) for text in texts))
        await store.close()
        return conversation.id

    def names(self) -> list[str]:
        return sorted(found.name for found in self.path.parent.iterdir())

    def set_aside(self) -> list[Path]:
        return sorted(self.path.parent.glob("*damaged*"))


async def refusal(stores: Stores, *, busy_timeout: float = 5.0) -> str:
    """Check that the store refuses to open and changes nothing; return the line that says why."""
    threads = store_threads()
    with pytest.raises(StoreRefused) as raised:
        await stores.open(busy_timeout=busy_timeout)
    assert store_threads() == threads
    assert stores.reports == []
    assert stores.set_aside() == []
    line = str(raised.value)
    assert "\n" not in line
    return line


def store_threads() -> int:
    """Return how many threads of databases there are; a process has others that come and go."""
    return sum(thread.name.startswith("conversations") for thread in threading.enumerate())


def user(text: str) -> HistoryEntry:
    return HistoryEntry(user_text=text)


def assistant(text: str) -> HistoryEntry:
    return HistoryEntry(assistant_text=text)


async def listed(store: ConversationStore) -> list[SessionInfo]:
    """Return the first page of the list."""
    return list((await store.conversations()).sessions)


async def texts(store: ConversationStore, conversation_id: str) -> list[str]:
    return [text for _, text in await store.turns(conversation_id)]


@contextmanager
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database a second time, as another program would."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=5)
    try:
        yield connection
    finally:
        connection.close()


def on_connect(
    monkeypatch: pytest.MonkeyPatch, hook: Callable[[sqlite3.Connection], object]
) -> None:
    """Call `hook` with every new connection, on the thread that makes it."""
    original = sqlite3.connect

    def connect(*args: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = original(*args, **options)  # type: ignore[call-overload]  # as given
        hook(connection)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)


# The beginning of a child's code; `die_at` kills it, like `kill -9`, before such a statement.
_CHILD = """
import asyncio, os, resource, signal, sqlite3, sys
from pathlib import Path
from callboard.v1.chat_pb2 import HistoryEntry, SessionInfo
from callboard_service.store import opening as store_opening
from callboard_service.store.store import *

path = Path(sys.argv[1])

def die_at(beginning, armed=lambda: True):
    original = sqlite3.connect
    def trace(statement):
        if statement.lstrip().startswith(beginning) and armed():
            os.kill(os.getpid(), signal.SIGKILL)
    def connect(*args, **options):
        connection = original(*args, **options)
        connection.set_trace_callback(trace)
        return connection
    sqlite3.connect = connect

def say(line):
    print(line, flush=True)

def opened():
    return ConversationStore.open(path, report=say)

def user(text):
    return HistoryEntry(user_text=text)
"""


def spawn(path: Path, code: str) -> "subprocess.Popen[str]":
    """Start a process that runs `main()` of `code` on the store's path."""
    script = f"{_CHILD}\n{code}\nasyncio.run(main())\n"
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, list[str]]:
    """Wait for the process; return its exit code, negative for a signal, and its output lines."""
    try:
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert not errors, errors
    return process.returncode, output.splitlines()


def run(path: Path, code: str) -> tuple[int, list[str]]:
    return finish(spawn(path, code))
