"""Keep notes in SQLite behind one long-lived actor: the database has one owner and one queue.

    NOTES_FILE=notes.db callboard serve --backend echo --actors examples.notes.handlers

If the actor crashes, the service restarts it and it reopens the file; requests that arrive
meanwhile wait in its mailbox. If the file cannot be opened, the service does not start.
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
"""Notes read at once; a list of any length takes only this much memory."""

LONGEST: Final = 10_000
"""Maximum characters of a note."""


@dataclass(slots=True)
class Add(Question[int]):
    """Keep a note; the answer is its number."""

    text: str


@dataclass(slots=True)
class Page(Question[list[Note]]):
    """Read the next notes above a number that contain a text."""

    above: int
    containing: str


class Notebook(Actor[Add | Page]):
    """The owner of the database."""

    def __init__(self, file: Path) -> None:
        self._file = file
        # SQLite blocks on disks and locks, so it runs off the event loop, always in one thread.
        self._thread = ThreadPoolExecutor(1)
        self._database: sqlite3.Connection

    async def started(self) -> None:
        """Open the database before any message is handled.

        An actor that fails to start is not stopped, so this cleans up after itself.
        """
        try:
            await self._in_thread(self._open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    async def stopped(self) -> None:
        """Close the database, at the end and before a restart."""
        await self._in_thread(self._close)
        self._thread.shutdown()

    async def receive(self, message: Add | Page) -> None:
        """Handle one message at a time."""
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
        """Ask the notebook to keep the note. Raises Failure: INVALID_ARGUMENT for its length."""
        text = request.text.strip()
        if not 0 < len(text) <= LONGEST:
            message = f"a note has 1 to {LONGEST} characters"
            raise Failure(Code.INVALID_ARGUMENT, message)
        notebook = self.context.actor(Notebook)
        number = await notebook.ask(Add(text), timeout=10.0)
        return Note(number=number, text=text)


class ListAll(StreamActor[ListNotes, Note]):
    """Lists notes; each page is read once the client has taken the one before."""

    async def handle(self, request: ListNotes) -> AsyncIterator[Note]:
        """Yield the notes, page by page."""
        page = await self._page(0, request.containing)
        while page:
            for note in page:
                yield note
            page = await self._page(page[-1].number, request.containing)

    async def _page(self, above: int, containing: str) -> list[Note]:
        notebook = self.context.actor(Notebook)
        return await notebook.ask(Page(above, containing), timeout=10.0)


def register(registry: Registry) -> None:
    """Register the actors; `--actors` calls this."""
    file = Path(os.environ.get("NOTES_FILE", "notes.db"))
    registry.supervise("notebook", lambda: Notebook(file))
    registry.register(AddNote, AddOne)
    registry.register(ListNotes, ListAll)
