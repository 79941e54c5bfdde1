"""Measure what a conversation costs by its length: only the store, on a file, in this process."""

import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.process import pin
from callboard.v1.chat_pb2 import HistoryEntry
from callboard_service.store.store import ConversationStore

SIZES: Final = (10, 100, 1000, 10_000, 100_000)
PAGE: Final = 10
_AT_ONCE: Final = 1000
_CALLS: Final = 200
_ENTRY: Final = HistoryEntry(assistant_text="x" * 100)


async def by_length() -> dict[str, dict[int, float]]:
    """Return CPU microseconds per call, over all threads, and file bytes per entry."""
    found: dict[str, dict[int, float]] = {
        f"entries of a conversation: a page of {PAGE}": {},
        "entries of a conversation: one more": {},
        "entries of a conversation: bytes an entry": {},
    }
    pages, appends, sizes = found.values()
    pin(os.getpid(), 1)  # with SQLite's thread on another core, each hop costs half as much again
    for size in SIZES:
        with TemporaryDirectory(prefix="callboard-bench-") as folder:
            file = Path(folder, "conversations.db")
            store = await ConversationStore.open(file, report=print)
            name = (await store.create("")).id
            for begin in range(0, size, _AT_ONCE):
                await store.append(name, *[_ENTRY] * min(_AT_ONCE, size - begin))
            pages[size] = await _cost(partial(store.history, name, limit=PAGE))
            appends[size] = await _cost(partial(store.append, name, _ENTRY))
            await store.close()
            sizes[size] = _bytes_each(file, size + 3 * _CALLS)
    return found


def _bytes_each(file: Path, entries: int) -> int:
    return round(file.stat().st_size / entries)


async def _cost(call: Callable[[], Awaitable[object]]) -> float:
    """Return CPU microseconds per call, the best of three runs."""
    costs = []
    for _ in range(3):
        before = time.process_time()
        for _ in range(_CALLS):
            await call()
        costs.append((time.process_time() - before) / _CALLS * 1e6)
    return round(min(costs), 1)
