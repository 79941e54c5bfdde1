"""The conversation store creates or opens its file, and refuses what it must not touch."""

import asyncio
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from callboard_service.store.database import Database
from callboard_service.store.schema import APPLICATION_ID, MIGRATIONS
from callboard_service.store.store import ConversationStore, StoreFenced
from tests.support.store_kit import (
    Stores,
    finish,
    listed,
    on_connect,
    other,
    refusal,
    spawn,
    store_threads,
    texts,
)

_NOBODY = 65534


# A new database


async def test_an_sqlite_that_is_too_old_is_named(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    said = await refusal(stores)
    assert said == "this Python has SQLite 3.34.1; 3.35 or newer is needed"
    assert not stores.path.exists()


async def test_new_folders_and_files_are_private(stores: Stores) -> None:
    stores.path = stores.path.parent / "a" / "b" / "conversations.db"
    mask = os.umask(0)
    try:
        store = await stores.open()
        await store.create("")
    finally:
        os.umask(mask)
    folder = stores.path.parent
    assert [stat.S_IMODE(f.stat().st_mode) for f in (folder, folder.parent)] == [0o700, 0o700]
    assert {f.name: stat.S_IMODE(f.stat().st_mode) for f in folder.iterdir()} == {
        "conversations.db": 0o600,
        "conversations.db-wal": 0o600,
        "conversations.db-shm": 0o600,
    }


async def test_files_that_others_may_read_are_tightened_and_a_folder_is_reported(
    stores: Stores,
) -> None:
    await stores.make("hello")
    log = stores.path.with_name("conversations.db-wal")
    log.touch()
    log.chmod(0o666)
    stores.path.chmod(0o644)
    stores.path.parent.chmod(0o777)
    await stores.open()
    assert stat.S_IMODE(stores.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(stores.path.parent.stat().st_mode) == 0o777
    [line] = stores.reports
    assert line.startswith(f"{stores.path} was open to others (0644); it is 0600 now; ")
    assert f"; {log} was open to others (" in line
    folder = stores.path.parent
    assert line.endswith(f"; the folder {folder} is open to others (0777); 0700 is safer")


async def test_a_file_whose_rights_cannot_be_changed_is_reported_and_used(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stores.make("hello")
    stores.path.chmod(0o644)

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    await stores.open()
    reason = "is open to others (0644), which cannot be changed: Operation not permitted"
    assert stores.reports[0].startswith(f"{stores.path} {reason}")


async def test_files_of_the_service_alone_are_not_mentioned(stores: Stores) -> None:
    await stores.make("hello")
    await stores.open()
    assert stores.reports == []


async def test_the_file_says_whose_it_is_and_of_which_version(stores: Stores) -> None:
    await stores.make("hello")
    with other(stores.path) as raw:
        assert raw.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert raw.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_link_leads_to_the_file(stores: Stores) -> None:
    real = stores.path.with_name("real.db")
    stores.path.symlink_to(real)
    conversation = await stores.make("hello")
    assert stores.names() == ["conversations.db", "real.db"]
    assert stores.path.is_symlink()
    assert await texts(await stores.open(), conversation) == ["hello"]


# Refused


async def test_a_newer_version_is_refused_and_untouched(stores: Stores) -> None:
    await stores.make("hello")
    with other(stores.path) as raw:
        raw.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = stores.path.read_bytes()
    assert "newer version" in await refusal(stores)
    assert stores.path.read_bytes() == before


@pytest.mark.parametrize(
    "statements",
    [
        ("PRAGMA application_id = 1196444487",),
        ("PRAGMA application_id = -1", "CREATE TABLE entries (id)", "PRAGMA user_version = 9"),
        ("CREATE TABLE conversations (id)",),
    ],
)
async def test_another_application_is_refused_and_untouched(
    stores: Stores, statements: tuple[str, ...]
) -> None:
    with other(stores.path) as raw:
        for statement in statements:
            raw.execute(statement)
    before = stores.path.read_bytes()
    assert "another application" in await refusal(stores)
    assert stores.path.read_bytes() == before


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "PRAGMA locking_mode = EXCLUSIVE"])
async def test_a_locked_database_is_refused_after_the_busy_timeout(
    stores: Stores, lock: str
) -> None:
    conversation = await stores.make("hello")
    with other(stores.path) as raw:
        raw.execute(lock)
        raw.execute("UPDATE conversations SET title = 'busy'")
        assert "is locked by another process" in await refusal(stores, busy_timeout=0.05)
    assert await texts(await stores.open(), conversation) == ["hello"]


async def test_a_short_lock_is_waited_for(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = await stores.make("hello")
    with other(stores.path) as raw:
        raw.execute("PRAGMA locking_mode = EXCLUSIVE")
        raw.execute("BEGIN EXCLUSIVE")
        looked = 0

        async def look_again(seconds: float) -> None:
            nonlocal looked
            looked += 1
            if looked == 3:
                raw.close()

        monkeypatch.setattr(asyncio, "sleep", look_again)
        # SQLite's own busy timeout is 0 here, so that only the store's retries wait.
        real = Database.connect

        async def connect(location: Path, *, busy_timeout: float, mode: str = "rw") -> Database:
            assert busy_timeout == 5
            return await real(location, busy_timeout=0, mode="ro" if mode == "ro" else "rw")

        monkeypatch.setattr(Database, "connect", connect)
        store = await stores.open()
    assert looked == 3
    assert await texts(store, conversation) == ["hello"]


async def test_a_folder_is_no_database(stores: Stores) -> None:
    stores.path.mkdir()
    assert "is a folder" in await refusal(stores)


async def test_a_pipe_is_no_database(stores: Stores) -> None:
    os.mkfifo(stores.path)
    assert "not a regular file" in await refusal(stores)


async def test_a_folder_that_cannot_be_made_is_named(stores: Stores) -> None:
    stores.path.write_text("a file")
    stores.path = stores.path / "below" / "conversations.db"
    assert "Not a directory" in await refusal(stores)
    stores.path = stores.path.parent.parent / "conversations.db"
    assert "Not a directory" in await refusal(stores)


async def test_links_in_a_circle_lead_nowhere(stores: Stores) -> None:
    stores.path.symlink_to(stores.path)
    assert "cannot be created or read" in await refusal(stores)


@contextmanager
def _read_only(stores: Stores) -> Iterator[None]:
    """Make the folder read-only; root ignores modes, so it becomes another user meanwhile."""
    folder = stores.path.parent
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.fixture
def reachable(stores: Stores) -> Iterator[Stores]:
    """Yield stores in a folder that every user can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        stores.path = Path(folder) / "conversations.db"
        yield stores


async def test_a_folder_that_cannot_be_written_is_named(reachable: Stores) -> None:
    with _read_only(reachable):
        assert "Permission denied" in await refusal(reachable)


async def test_a_file_that_cannot_be_written_is_refused(reachable: Stores) -> None:
    await reachable.make("hello")
    reachable.path.chmod(0o444)
    reachable.reports.clear()
    before = reachable.path.read_bytes()
    with _read_only(reachable):
        line = await refusal(reachable)
    assert line.startswith(str(reachable.path))
    assert reachable.path.read_bytes() == before


async def test_a_file_that_cannot_be_read_is_refused(reachable: Stores) -> None:
    await reachable.make("hello")
    reachable.path.chmod(0)
    reachable.reports.clear()
    with _read_only(reachable):
        assert "unable to open database file" in await refusal(reachable)


async def test_a_damaged_file_that_cannot_be_renamed_is_refused(reachable: Stores) -> None:
    reachable.path.write_bytes(b"no database" * 100)
    reachable.path.chmod(0o666)
    with _read_only(reachable):
        assert "is damaged and cannot be renamed: Permission" in await refusal(reachable)
    assert reachable.path.read_bytes() == b"no database" * 100


async def test_a_full_disk_at_the_start_is_named(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_connect(monkeypatch, lambda connection: connection.execute("PRAGMA max_page_count = 2"))
    assert "disk is full" in await refusal(stores)


# Concurrent starts


async def test_of_processes_that_start_on_a_new_file_at_once_the_last_one_writes(
    stores: Stores,
) -> None:
    code = """
async def main():
    store = await opened()
    say(store.run)
    try:
        info = await store.create("")
        for number in range(30):
            await store.append(info.id, user(f"{number}"), user(f"{number}"))
    except StoreFenced:
        pass
    await store.close()
"""
    processes = [spawn(stores.path, code) for _ in range(2)]
    store = await stores.open()
    ended = [finish(process) for process in processes]
    assert [code for code, _ in ended] == [0, 0]
    runs = [store.run, *(int(run) for _, [run] in ended)]
    assert sorted(runs) == [1, 2, 3]
    for info in await listed(store):
        said = await texts(store, info.id)
        assert said == [str(n // 2) for n in range(len(said))], "an append was mixed or cut"


async def test_stores_in_one_process_start_on_a_new_file_at_once(stores: Stores) -> None:
    opened = await asyncio.gather(*(stores.open() for _ in range(8)))
    assert sorted(store.run for store in opened) == [1, 2, 3, 4, 5, 6, 7, 8]
    made = await asyncio.gather(*(store.create("") for store in opened), return_exceptions=True)
    refused = [store.run for store, done in zip(opened, made, strict=True) if _is_fenced(done)]
    assert sorted(refused) == [1, 2, 3, 4, 5, 6, 7]
    assert len(await listed(opened[0])) == 1


def _is_fenced(result: object) -> bool:
    return isinstance(result, StoreFenced)


async def test_an_opening_that_is_cancelled_leaves_no_thread(stores: Stores) -> None:
    threads = store_threads()
    for turns in range(60):
        opening = asyncio.create_task(
            ConversationStore.open(stores.path, report=stores.reports.append)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        if turns % 2:  # cancel it a second time
            await asyncio.sleep(0)
            opening.cancel()
        try:
            store = await opening
        except asyncio.CancelledError:
            pass
        else:
            await store.close()
        assert store_threads() == threads
    assert stores.reports == []
