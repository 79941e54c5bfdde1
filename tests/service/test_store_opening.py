"""What the conversation store makes of the file that it finds."""

import asyncio
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from callboard_service import store_opening
from callboard_service.store import ConversationStore, StoreRefused
from callboard_service.store_database import Database
from callboard_service.store_schema import APPLICATION_ID, MIGRATIONS
from tests.service.store_kit import (
    ASIDE,
    NOON,
    Stores,
    finish,
    on_connect,
    other,
    run,
    spawn,
    texts,
    user,
)

_NOBODY = 65534


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    threads = threading.active_count()
    made = Stores(tmp_path / "conversations.db")
    yield made
    await made.close()
    assert threading.active_count() == threads, "a thread was left"


async def _refusal(stores: Stores, *, busy_timeout: float = 5.0) -> str:
    """The one line that says why not. Nothing is set aside, and no thread is left."""
    threads = threading.active_count()
    with pytest.raises(StoreRefused) as raised:
        await stores.open(busy_timeout=busy_timeout)
    assert threading.active_count() == threads
    assert stores.reports == []
    assert stores.set_aside() == []
    line = str(raised.value)
    assert "\n" not in line
    return line


# A new one


async def test_what_it_makes_is_private(stores: Stores) -> None:
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


async def test_what_was_there_keeps_its_rights(stores: Stores) -> None:
    stores.path.parent.chmod(0o750)
    stores.path.touch(0o640)
    stores.path.chmod(0o640)
    await stores.open()
    assert stat.S_IMODE(stores.path.stat().st_mode) == 0o640
    assert stat.S_IMODE(stores.path.parent.stat().st_mode) == 0o750


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
    assert "newer version" in await _refusal(stores)
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
    assert "another application" in await _refusal(stores)
    assert stores.path.read_bytes() == before


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "PRAGMA locking_mode = EXCLUSIVE"])
async def test_a_locked_one_is_refused_after_the_busy_timeout(stores: Stores, lock: str) -> None:
    conversation = await stores.make("hello")
    with other(stores.path) as raw:
        raw.execute(lock)
        raw.execute("UPDATE conversations SET title = 'busy'")
        assert "is locked by another process" in await _refusal(stores, busy_timeout=0.05)
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
        # SQLite itself waits for nothing, so that it is asked again and again.
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
    assert "is a folder" in await _refusal(stores)


async def test_a_pipe_is_no_database(stores: Stores) -> None:
    os.mkfifo(stores.path)
    assert "no regular file" in await _refusal(stores)


async def test_a_folder_that_cannot_be_made_is_named(stores: Stores) -> None:
    stores.path.write_text("a file")
    stores.path = stores.path / "below" / "conversations.db"
    assert "Not a directory" in await _refusal(stores)
    stores.path = stores.path.parent.parent / "conversations.db"
    assert "Not a directory" in await _refusal(stores)


async def test_links_in_a_circle_lead_nowhere(stores: Stores) -> None:
    stores.path.symlink_to(stores.path)
    assert "cannot be made or read" in await _refusal(stores)


@contextmanager
def _read_only(stores: Stores) -> Iterator[None]:
    """The folder cannot be written. Root can write any: it steps down meanwhile."""
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
    """A folder that every user can reach: pytest's own is for its user alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        stores.path = Path(folder) / "conversations.db"
        yield stores


async def test_a_folder_that_cannot_be_written_is_named(reachable: Stores) -> None:
    with _read_only(reachable):
        assert "Permission denied" in await _refusal(reachable)


async def test_a_file_that_cannot_be_written_is_refused(reachable: Stores) -> None:
    await reachable.make("hello")
    reachable.path.chmod(0o444)
    before = reachable.path.read_bytes()
    with _read_only(reachable):
        line = await _refusal(reachable)
    assert line.startswith(str(reachable.path))
    assert reachable.path.read_bytes() == before


async def test_a_file_that_cannot_be_read_is_refused(reachable: Stores) -> None:
    await reachable.make("hello")
    reachable.path.chmod(0)
    with _read_only(reachable):
        assert "unable to open database file" in await _refusal(reachable)


async def test_a_damaged_file_that_cannot_be_renamed_is_refused(reachable: Stores) -> None:
    reachable.path.write_bytes(b"no database" * 100)
    reachable.path.chmod(0o666)
    with _read_only(reachable):
        assert "is damaged and cannot be renamed: Permission" in await _refusal(reachable)
    assert reachable.path.read_bytes() == b"no database" * 100


async def test_a_full_disk_at_the_start_is_named(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_connect(monkeypatch, lambda connection: connection.execute("PRAGMA max_page_count = 2"))
    assert "disk is full" in await _refusal(stores)


# Damaged


def _garbage(path: Path) -> None:
    path.write_bytes(b"This is no database. " * 500)


def _three_bytes(path: Path) -> None:
    path.write_bytes(b"abc")


def _header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * 100)


def _page_in_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xa5" * 4096)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [_garbage, _three_bytes, _header, _page_in_the_middle, _cut])
async def test_a_damaged_file_is_set_aside(stores: Stores, damage: Callable[[Path], None]) -> None:
    await stores.make(*(f"{n} " * 200 for n in range(200)))
    damage(stores.path)
    before = stores.path.read_bytes()
    store = await stores.open()
    assert await store.conversations() == []
    await store.create("after")
    aside = stores.path.with_name(ASIDE)
    assert aside.read_bytes() == before
    [line] = stores.reports
    assert line.startswith(f"{stores.path} is damaged: ")
    assert line.endswith(f"; it is kept as {aside}, and a new one is made")
    assert "\n" not in line
    await store.close()
    assert {*stores.names()} - {f"{ASIDE}-wal", f"{ASIDE}-shm"} == {"conversations.db", ASIDE}
    assert [info.title for info in await (await stores.open()).conversations()] == ["after"]
    assert len(stores.reports) == 1


async def test_the_log_goes_aside_with_it(stores: Stores) -> None:
    store = await stores.open()
    conversation = await store.create("first")
    with other(stores.path) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await store.append(conversation.id, user("only in the log"))
    # What a killed process leaves: the three files as they are now.
    names = stores.names()
    assert names == ["conversations.db", "conversations.db-shm", "conversations.db-wal"]
    left = stores.path.parent / "left"
    left.mkdir()
    for name in names:
        shutil.copy(stores.path.with_name(name), left / name)
    stores.path = left / "conversations.db"
    with stores.path.open("r+b") as file:  # all but the first two pages, which the log may have
        file.seek(2 * 4096)
        file.write(b"\xa5" * 4096 * 2)
    log = (left / "conversations.db-wal").read_bytes()
    assert b"only in the log" in log
    await stores.open()
    assert (left / f"{ASIDE}-wal").read_bytes() == log
    assert (left / f"{ASIDE}-shm").exists()
    assert (left / ASIDE).exists()
    assert len(stores.reports) == 1


@pytest.mark.parametrize("taken", [ASIDE, f"{ASIDE}-wal"])
async def test_what_was_set_aside_before_is_never_overwritten(stores: Stores, taken: str) -> None:
    stores.path.with_name(taken).write_text("before")
    for number in (2, 3):
        _garbage(stores.path)
        store = await stores.open()
        await store.close()
        assert stores.path.with_name(f"{ASIDE}-{number}").exists()
    assert stores.path.with_name(taken).read_text() == "before"


async def test_the_new_file_of_another_process_is_not_taken_for_the_damaged_one(
    stores: Stores,
) -> None:
    conversation = await stores.make("hello")
    good = stores.path.with_name("good.db")
    stores.path.rename(good)
    _garbage(stores.path)

    def clock() -> datetime:
        # Asked when the damage is found: another process is faster.
        stores.path.rename(stores.path.with_name("damaged.db"))
        good.rename(stores.path)
        return NOON

    store = await ConversationStore.open(stores.path, clock=clock, report=stores.reports.append)
    ids = [info.id for info in await store.conversations()]
    await store.close()
    assert ids == [conversation]
    assert stores.names() == ["conversations.db", "damaged.db"]
    assert stores.reports == []


async def test_a_disk_that_damages_the_new_file_too_is_refused(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    _garbage(stores.path)
    original = store_opening._make_place

    def make_place(location: Path) -> Path:
        path = original(location)
        _garbage(path)
        return path

    monkeypatch.setattr(store_opening, "_make_place", make_place)
    with pytest.raises(StoreRefused, match="is damaged"):
        await stores.open()
    assert len(stores.reports) == 1


async def test_a_transaction_that_a_crash_left_open_is_rolled_back(stores: Stores) -> None:
    # A rollback journal is left only by a crash before the file was in WAL mode.
    with other(stores.path) as raw:
        raw.execute("PRAGMA journal_mode = DELETE")
        raw.execute("PRAGMA cache_size = 1")
        raw.execute("PRAGMA cache_spill = 1")
        raw.execute("BEGIN")
        raw.execute("CREATE TABLE t (x)")
        raw.executemany("INSERT INTO t VALUES (?)", [("x" * 3000,)] * 50)
        left = stores.path.parent / "left"
        left.mkdir()
        for name in ("conversations.db", "conversations.db-journal"):
            shutil.copy(stores.path.with_name(name), left / name)
    stores.path = left / "conversations.db"
    assert stores.path.stat().st_size > 0, "nothing to roll back"
    store = await stores.open()
    assert await store.conversations() == []
    assert stores.reports == []


# Migrations

_NEXT = ("ALTER TABLE conversations ADD COLUMN model TEXT", "UPDATE conversations SET model = 'm'")


def _migrations(monkeypatch: pytest.MonkeyPatch, *further: tuple[str, ...]) -> None:
    monkeypatch.setattr(store_opening, "MIGRATIONS", (*MIGRATIONS, *further))


def _state(path: Path) -> tuple[int, list[str]]:
    with other(path) as raw:
        [version] = raw.execute("PRAGMA user_version").fetchone()
        columns = [row[1] for row in raw.execute("PRAGMA table_info (conversations)")]
    return version - len(MIGRATIONS), columns[5:]


async def test_an_older_version_becomes_the_newest(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await stores.make("hello")
    assert _state(stores.path) == (0, [])
    _migrations(monkeypatch, _NEXT, ("ALTER TABLE conversations ADD COLUMN note TEXT",))
    store = await stores.open()
    assert await texts(store, conversation) == ["hello"]
    assert _state(stores.path) == (2, ["model", "note"])


async def test_a_failed_migration_leaves_the_last_good_version(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await stores.make("hello")
    with monkeypatch.context() as patch:
        _migrations(patch, _NEXT, ("DELETE FROM entries", "SELECT no FROM such_table"))
        assert "no such table: such_table" in await _refusal(stores)
    assert _state(stores.path) == (1, ["model"])
    _migrations(monkeypatch, _NEXT)
    assert await texts(await stores.open(), conversation) == ["hello"]


async def test_a_migration_may_take_a_table_apart(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await stores.make("hello")
    sql = "CREATE TABLE entries_2 AS SELECT * FROM conversations"
    _migrations(monkeypatch, (sql, "DROP TABLE conversations", f"{sql[:13]}conversations (id)"))
    await stores.open()
    with other(stores.path) as raw:
        assert raw.execute("SELECT text FROM entries").fetchall() == [("hello",)]
        assert raw.execute("SELECT id FROM entries_2").fetchall() == [(conversation,)]


async def test_a_process_killed_in_a_migration_leaves_the_old_version(stores: Stores) -> None:
    conversation = await stores.make("hello")
    code = f"""
store_opening.MIGRATIONS = (*store_opening.MIGRATIONS, {_NEXT!r})

async def main():
    die_at("PRAGMA user_version = 2")
    await opened()
"""
    assert run(stores.path, code) == (-9, [])
    assert _state(stores.path) == (0, [])
    assert await texts(await stores.open(), conversation) == ["hello"]
    assert stores.reports == []


async def test_two_processes_start_on_a_new_file_at_once(stores: Stores) -> None:
    code = """
async def main():
    store = await opened()
    info = await store.create("")
    for number in range(30):
        await store.append(info.id, user(f"{number}"), user(f"{number}"))
    await store.close()
    say(info.id)
"""
    processes = [spawn(stores.path, code) for _ in range(2)]
    store = await stores.open()
    ended = [finish(process) for process in processes]
    assert [code for code, _ in ended] == [0, 0]
    for _, [conversation] in ended:
        assert await texts(store, conversation) == [str(n // 2) for n in range(60)]


async def test_stores_in_one_process_start_on_a_new_file_at_once(stores: Stores) -> None:
    opened = await asyncio.gather(*(stores.open() for _ in range(8)))
    await asyncio.gather(*(store.create("") for store in opened))
    assert len(await opened[0].conversations()) == 8


async def test_an_opening_that_is_cancelled_leaves_no_thread(stores: Stores) -> None:
    threads = threading.active_count()
    for turns in range(60):
        opening = asyncio.create_task(
            ConversationStore.open(stores.path, report=stores.reports.append)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        if turns % 2:  # impatiently
            await asyncio.sleep(0)
            opening.cancel()
        try:
            store = await opening
        except asyncio.CancelledError:
            pass
        else:
            await store.close()
        assert threading.active_count() == threads
    assert stores.reports == []
