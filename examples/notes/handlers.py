"""Notes in SQLite, behind one long-lived actor: the database has one owner and one queue.

    NOTES_FILE=notes.db callboard serve --backend echo --actors examples.notes.handlers

If the actor crashes, the service starts it again and it opens the file anew; requests that come
meanwhile wait in its mailbox. A file that cannot be opened ends the start of the service.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from actors import Actor, Code, Failure, Question, Registry, RequestActor, StreamActor
from examples.notes.notes_pb2 import AddNote, ListNotes, Note

T = TypeVar("T")

PAGE: Final = 100
"""Notes that are read at once; a list of any length takes this much memory."""

LONGEST: Final = 10_000
"""Characters of one note."""


@dataclass(slots=True)
class Add(Question[int]):
    """Keep a note; the answer is its number."""

    text: str


@dataclass(slots=True)
class Page(Question[list[Note]]):
    """The next notes above a number that contain a text."""

    above: int
    containing: str


class Notebook(Actor[Add | Page]):
    """The owner of the database."""

    def __init__(self, file: Path) -> None:
        self._file = file
        # SQLite waits for disks and locks: not on the event loop, and always in the same thread.
        self._thread = ThreadPoolExecutor(1)
        self._database: sqlite3.Connection

    async def started(self) -> None:
        """Open it: no message is handled before. An actor that does not start is not stopped."""
        try:
            await self._in_thread(self._open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    async def stopped(self) -> None:
        """Close it, at the end and before a restart."""
        await self._in_thread(self._close)
        self._thread.shutdown()

    async def receive(self, message: Add | Page) -> None:
        """One at a time."""
        match message:
            case Add(text):
                message.reply.send(await self._in_thread(partial(self._add, text)))
            case Page(above, containing):
                message.reply.send(await self._in_thread(partial(self._page, above, containing)))

    async def _in_thread(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    def _open(self) -> None:
        database = sqlite3.connect(self._file)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS notes (number INTEGER PRIMARY KEY, text TEXT NOT NULL)"
            )
        except sqlite3.Error:
            database.close()
            raise
        self._database = database

    def _close(self) -> None:
        self._database.close()

    def _add(self, text: str) -> int:
        with self._database:  # a transaction
            cursor = self._database.execute("INSERT INTO notes (text) VALUES (?)", (text,))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _page(self, above: int, containing: str) -> list[Note]:
        wanted = "number > ? AND instr(text, ?)"
        query = f"SELECT number, text FROM notes WHERE {wanted} ORDER BY number LIMIT ?"
        rows = self._database.execute(query, (above, containing, PAGE))
        return [Note(number=number, text=text) for number, text in rows]


class AddOne(RequestActor[AddNote, Note]):
    """Keeps a note."""

    async def handle(self, request: AddNote) -> Note:
        """Have the notebook keep it."""
        text = request.text.strip()
        if not 0 < len(text) <= LONGEST:
            message = f"a note has 1 to {LONGEST} characters"
            raise Failure(Code.INVALID_ARGUMENT, message)
        notebook = self.context.actor(Notebook)
        number = await notebook.ask(Add(text), timeout=10.0)
        return Note(number=number, text=text)


class ListAll(StreamActor[ListNotes, Note]):
    """Reads notes, a page when the client has taken the one before."""

    async def handle(self, request: ListNotes) -> AsyncIterator[Note]:
        """Page by page."""
        page = await self._page(0, request.containing)
        while page:
            for note in page:
                yield note
            page = await self._page(page[-1].number, request.containing)

    async def _page(self, above: int, containing: str) -> list[Note]:
        notebook = self.context.actor(Notebook)
        return await notebook.ask(Page(above, containing), timeout=10.0)


def register(registry: Registry) -> None:
    """What `--actors` calls."""
    file = Path(os.environ.get("NOTES_FILE", "notes.db"))
    registry.supervise("notebook", lambda: Notebook(file))
    registry.register(AddNote, AddOne)
    registry.register(ListNotes, ListAll)
