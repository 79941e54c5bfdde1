"""A database file that is removed, replaced, damaged or locked while the service runs."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import pytest

from actors import ActorSystem, Code, Crashed, Event, Failure, Restarted
from actors.testing import ManualClock, settle
from callboard.v1.chat_pb2 import HistoryEntry
from callboard_service.backends.stored import StoredConversations
from callboard_service.service import STORE_LIFECYCLE
from callboard_service.store.store import (
    ConversationStore,
    StoreBroken,
    StoreBusy,
    StoreFull,
)
from tests.support.store_kit import other

LONG: Final = [HistoryEntry(user_text="x" * 3000) for _ in range(100)]


class Kept:
    """Stored conversations as in the service, with the store's actor in an actor system."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "data" / "conversations.db"
        self.reports: list[str] = []
        self.conversations = StoredConversations(self.path, self.reports.append)
        self.system = ActorSystem()

    async def start(self) -> None:
        spec = self.conversations.store_spec()
        await self.system.start(spec.factory, name="store", lifecycle=STORE_LIFECYCLE)

    async def failure(self) -> Failure:
        """Make a call that must fail; return its Failure."""
        with pytest.raises(Failure) as caught:
            await self.conversations.create("lost?")
        return caught.value

    async def titles(self) -> list[str]:
        return [info.title for info in (await self.conversations.conversations()).sessions]


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    made = Kept(tmp_path)
    await made.start()
    try:
        yield made
    finally:
        await made.system.stop()


def _remove(path: Path) -> None:
    path.unlink()


def _remove_all(path: Path) -> None:
    for part in ("-wal", "-shm", ""):
        path.with_name(path.name + part).unlink()


def _remove_the_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def _rename(path: Path) -> None:
    path.rename(path.with_name("renamed.db"))


def _replace(path: Path) -> None:
    new = path.with_name("new.db")
    sqlite3.connect(new).close()
    new.touch()
    new.replace(path)


def _cut_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def _overwrite_with_garbage(path: Path) -> None:
    path.write_bytes(b"This is no database. " * 5000)


@pytest.mark.parametrize(
    "harm",
    [
        _remove,
        _remove_all,
        _remove_the_folder,
        _rename,
        _replace,
        _cut_to_nothing,
        _overwrite_with_garbage,
    ],
)
async def test_a_write_never_succeeds_into_a_file_that_is_gone_and_the_store_heals(
    kept: Kept, harm: Callable[[Path], None]
) -> None:
    info = await kept.conversations.create("before")
    await kept.conversations.write(lambda store: store.append(info.id, *LONG))
    harm(kept.path)
    failure = await kept.failure()
    assert failure.code is Code.UNAVAILABLE
    assert failure.retryable
    assert failure.retry_after_ms > 0
    await kept.conversations.create("after")
    assert "after" in await kept.titles()
    assert kept.conversations.store_health().ready
    assert len([line for line in kept.reports if "while it was open" in line]) == 1
    await kept.system.stop()
    raw = sqlite3.connect(kept.path)  # the write that succeeded is in the file
    assert ("after",) in raw.execute("SELECT title FROM conversations").fetchall()
    raw.close()


@pytest.mark.parametrize("log", ["-wal", "-shm"])
async def test_a_log_that_is_removed_loses_nothing(kept: Kept, log: str) -> None:
    await kept.conversations.create("before")
    kept.path.with_name(kept.path.name + log).unlink()
    await kept.failure()
    await kept.conversations.create("after")
    assert await kept.titles() == ["after", "before"]
    assert len(kept.reports) == 1


async def test_a_read_notices_it_too(kept: Kept) -> None:
    await kept.conversations.create("before")
    kept.path.unlink()
    with pytest.raises(Failure):
        await kept.titles()
    assert await kept.titles() == []


async def test_damage_in_the_middle_is_set_aside_and_a_new_file_is_made(kept: Kept) -> None:
    info = await kept.conversations.create("before")
    await kept.conversations.write(lambda store: store.append(info.id, *LONG))
    with other(kept.path) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with kept.path.open("r+b") as file:
        file.seek(4 * 4096)
        file.write(b"\xa5" * 4096 * 20)
    with pytest.raises(Failure):
        await kept.conversations.history(info.id, 1000, "", 10**9)
    await kept.conversations.create("after")
    assert await kept.titles() == ["after"]
    assert len(list(kept.path.parent.glob("*damaged*"))) >= 1


async def test_the_database_of_another_application_is_left_as_it_is(kept: Kept) -> None:
    info = await kept.conversations.create("before")
    await kept.conversations.write(lambda store: store.append(info.id, *LONG))
    foreign = kept.path.with_name("foreign.db")
    with other(foreign) as raw:
        raw.execute("CREATE TABLE theirs (x)")
        raw.executemany("INSERT INTO theirs VALUES (?)", [("y" * 3000,)] * 200)
    theirs = foreign.read_bytes()
    kept.path.write_bytes(theirs)  # in place, so that open descriptors see it
    await kept.failure()
    await kept.failure()
    health = kept.conversations.store_health()
    assert not health.ready
    await kept.system.stop()
    assert kept.path.read_bytes() == theirs


async def test_a_folder_that_may_not_be_entered_any_more_is_reported_and_the_store_heals(
    kept: Kept,
) -> None:
    await kept.conversations.create("before")
    down, up = asyncio.Event(), asyncio.Event()

    def observe(event: Event) -> None:
        if isinstance(event, Crashed):
            down.set()
        elif isinstance(event, Restarted):
            up.set()

    kept.system.subscribe(observe)
    root = os.geteuid() == 0  # may enter any folder, so it drops its rights
    kept.path.parent.chmod(0)
    if root:
        os.seteuid(65534)
    try:
        assert (await kept.failure()).code is Code.UNAVAILABLE
        await down.wait()
        assert (await kept.failure()).retryable
        assert not kept.conversations.store_health().ready
    finally:
        if root:
            os.seteuid(0)
        kept.path.parent.chmod(0o700)
    await up.wait()
    assert kept.conversations.is_open  # before any call
    assert await kept.titles() == ["before"]
    assert [line for line in kept.reports if "can no longer be accessed" in line]


async def _fail(*_: object) -> None:
    raise StoreFull("the disk is full")


async def test_a_full_disk_is_reported_once_and_is_over_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manual_clock, kept = ManualClock(), Kept(tmp_path)
    kept.system = ActorSystem(clock=manual_clock)
    await kept.start()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(ConversationStore, "create", _fail)
            patch.setattr(ConversationStore, "probe", _fail)
            for _ in range(5):
                failure = await kept.failure()
                assert failure.code is Code.RESOURCE_EXHAUSTED
                assert failure.retryable
            await manual_clock.advance(60.0)
            assert kept.reports == ["the disk is full"]
            assert kept.conversations.store_health().detail == "the disk is full"
            assert not kept.conversations.is_open
            assert await kept.titles() == []  # reads still work
            assert not kept.conversations.is_open
        probed = asyncio.Event()
        probe = ConversationStore.probe

        async def watched(store: ConversationStore) -> None:
            await probe(store)
            probed.set()

        monkeypatch.setattr(ConversationStore, "probe", watched)
        await manual_clock.advance(31.0)
        await probed.wait()
        await settle()
        assert kept.conversations.is_open  # without any call
    finally:
        await kept.system.stop()


async def test_a_lock_of_another_process_is_reported_once(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object) -> None:
        raise StoreBusy("locked")

    with monkeypatch.context() as patch:
        patch.setattr(ConversationStore, "create", busy)
        for _ in range(5):
            assert (await kept.failure()).code is Code.UNAVAILABLE
    assert kept.reports == ["locked"]
    await kept.conversations.create("again")
    assert kept.conversations.is_open


async def test_calls_wait_while_the_file_is_opened_anew(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise StoreBroken("broken")

    with monkeypatch.context() as patch:
        patch.setattr(ConversationStore, "create", broken)
        await asyncio.gather(*(kept.failure() for _ in range(20)))
    made = await asyncio.gather(*(kept.conversations.create(f"{n}") for n in range(20)))
    assert len(made) == 20
    assert kept.reports == ["broken"]
