"""The examples: each alone, on a manual clock if it uses time, and all three in a service."""

import asyncio
import sqlite3
import stat
from pathlib import Path

import psutil
import pytest

from actors import ActorSystem, Code, Failure, Registry, StartFailed
from actors.testing import ManualClock, actor_events, actor_system, manual_clock, serving
from examples.load.handlers import register as register_load
from examples.load.load_pb2 import Load, WatchLoad
from examples.notes.handlers import LONGEST, PAGE, AddOne, ListAll, Notebook
from examples.notes.notes_pb2 import AddNote, ListNotes, Note
from examples.search.handlers import LONGEST_LINE, Search, parse
from examples.search.handlers import running as running_process
from examples.search.search_pb2 import Match, Searched, SearchRequest
from tests.e2e.service_process import run, running
from transport.client import Client, by_url
from transport.errors import RequestFailed

__all__ = ["actor_events", "actor_system", "manual_clock"]

ROOT = Path(__file__).parents[2]


async def test_load_comes_once_a_second(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    async with serving(actor_system, register_load) as calls:
        loads = calls.stream(WatchLoad(), Load)
        for second in (1.0, 2.0, 3.0):
            load = await manual_clock.until(anext(loads))
            assert manual_clock.now() == second
            assert 0 < load.memory_used < load.memory_total
            assert 0 <= load.cpu_percent <= 100
        with pytest.raises(Failure, match="not more often"):
            await calls.call(WatchLoad(interval_ms=1), Load)


# -- search ------------------------------------------------------------------------------------


class Searching:
    def __init__(self, folder: Path, program: str = "grep") -> None:
        self.folder = folder
        self.program = program

    def __call__(self, registry: Registry) -> None:
        registry.register(SearchRequest, lambda: Search(self.folder, self.program))


async def found(system: ActorSystem, folder: Path, text: str) -> list[Match | Searched]:
    async with serving(system, Searching(folder)) as calls:
        stream = calls.stream(SearchRequest(text=text), Match, Searched)
        return [answer async for answer in stream]  # type: ignore[misc]  # the join of both


async def test_search_tells_files_and_lines(actor_system: ActorSystem, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one: 1\ntwo\none more: x\n")
    assert await found(actor_system, tmp_path, "one") == [
        Match(file="a.txt", line=1, text="one: 1"),
        Match(file="a.txt", line=3, text="one more: x"),
        Searched(matches=2),
    ]


async def test_what_looks_like_a_flag_is_text(actor_system: ActorSystem, tmp_path: Path) -> None:
    assert await found(actor_system, tmp_path, "--help; rm -rf .") == [Searched()]


async def test_search_refuses_what_is_no_line(actor_system: ActorSystem, tmp_path: Path) -> None:
    async with serving(actor_system, Searching(tmp_path)) as calls:
        for text in ("", "a\nb", "a\0b"):
            with pytest.raises(Failure, match="one line of text"):
                await calls.call(SearchRequest(text=text), Searched)
    async with serving(actor_system, Searching(tmp_path, "no-such-program")) as calls:
        with pytest.raises(Failure, match="no-such-program cannot be run"):
            await calls.call(SearchRequest(text="x"), Searched)


async def test_a_line_without_end_ends_the_search(
    actor_system: ActorSystem, tmp_path: Path
) -> None:
    (tmp_path / "long.txt").write_text("x" * 200_000)
    async with serving(actor_system, Searching(tmp_path)) as calls:
        with pytest.raises(Failure, match="a line is too long"):
            await calls.call(SearchRequest(text="x"), Searched)


@pytest.mark.parametrize("way", ["cancel", "deadline", "leave"])
async def test_the_process_ends_with_its_request(
    actor_system: ActorSystem, manual_clock: ManualClock, tmp_path: Path, way: str
) -> None:
    program = tmp_path / "endless"
    program.write_text("#!/bin/sh\necho $$ > pid\nwhile printf 'f\\0001:x\\n'; do :; done\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    async with serving(actor_system, Searching(tmp_path, str(program))) as calls:
        stream = calls.stream(SearchRequest(text="x"), Match)
        assert await anext(stream) == Match(file="f", line=1, text="x")
        process = psutil.Process(int((tmp_path / "pid").read_text()))
        if way == "cancel":
            stream.cancel()
        elif way == "deadline":
            await manual_clock.advance(61)
        if way != "leave":
            with pytest.raises(Failure):
                while True:
                    await anext(stream)
    assert not process.is_running()


async def test_a_pipe_that_nobody_emptied_is_closed(tmp_path: Path) -> None:
    files = psutil.Process().num_fds()
    async with running_process("yes", folder=tmp_path) as process:
        held: bytearray = getattr(process.stdout, "_buffer")  # noqa: B009  # asyncio's own
        while len(held) <= 2 * LONGEST_LINE:  # noqa: ASYNC110  # beyond that, asyncio stops reading
            await asyncio.sleep(0)
    assert psutil.Process().num_fds() <= files


def test_a_line_of_grep() -> None:
    assert parse(b"./a b:1.txt\x007:x: y\n") == Match(file="a b:1.txt", line=7, text="x: y")


# -- notes -------------------------------------------------------------------------------------


class Notes:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __call__(self, registry: Registry) -> None:
        registry.supervise("notebook", lambda: Notebook(self.file))
        registry.register(AddNote, AddOne)
        registry.register(ListNotes, ListAll)


async def test_notes_are_kept_and_found(actor_system: ActorSystem, tmp_path: Path) -> None:
    count = 2 * PAGE + 5
    async with serving(actor_system, Notes(tmp_path / "notes.db")) as calls:
        for number in range(1, count + 1):
            note = await calls.call(AddNote(text=f" note {number} "), Note)
            assert note == Note(number=number, text=f"note {number}")
    async with serving(actor_system, Notes(tmp_path / "notes.db")) as calls:
        listed = [note.number async for note in calls.stream(ListNotes(), Note)]
        assert listed == [*range(1, count + 1)]
        some = calls.stream(ListNotes(containing="note 20"), Note)
        assert [note.number async for note in some] == [20, 200, 201, 202, 203, 204, 205]
        for text in (" ", "x" * (LONGEST + 1)):
            with pytest.raises(Failure) as failure:
                await calls.call(AddNote(text=text), Note)
            assert failure.value.code is Code.INVALID_ARGUMENT


async def test_a_crash_of_the_notebook_loses_no_note(tmp_path: Path) -> None:
    file = tmp_path / "notes.db"
    system = ActorSystem()  # on real time, since closing and opening a database takes some
    async with serving(system, Notes(file)) as calls:
        await calls.call(AddNote(text="first"), Note)
        with sqlite3.connect(file) as other:
            other.execute("ALTER TABLE notes RENAME TO hidden")
        other.close()
        with pytest.raises(Failure) as failure:
            await calls.call(AddNote(text="lost"), Note)
        assert failure.value.code is Code.INTERNAL
        with sqlite3.connect(file) as other:
            other.execute("ALTER TABLE hidden RENAME TO notes")
        other.close()
        assert (await calls.call(AddNote(text="second"), Note)).number == 2
    await system.stop()


async def test_a_file_that_is_no_database_ends_the_start(
    actor_system: ActorSystem, tmp_path: Path
) -> None:
    (tmp_path / "notes.db").write_text("no database at all, and long enough to be one: " * 30)
    with pytest.raises(StartFailed, match="file is not a database"):
        async with serving(actor_system, Notes(tmp_path / "notes.db")):
            pass
    # The service ends too: no thread of the database keeps it running.
    settings = {"NOTES_FILE": str(tmp_path / "notes.db"), "PYTHONPATH": str(ROOT)}
    flags = ("--backend=echo", "--actors=examples.notes.handlers")
    code, out, err = await asyncio.to_thread(run, tmp_path, "serve", *flags, **settings)
    assert (code, out) == (2, "")
    assert "file is not a database" in err.splitlines()[-1]


# -- all of them, served -----------------------------------------------------------------------


async def test_all_three_are_served(tmp_path: Path) -> None:
    (tmp_path / "found.txt").write_text("a needle\n")
    flags = [f"--actors=examples.{name}.handlers" for name in ("load", "search", "notes")]
    with running(
        tmp_path,
        "--backend=echo",
        *flags,
        PYTHONPATH=str(ROOT),
        SEARCH_FOLDER=str(tmp_path),
        NOTES_FILE=str(tmp_path / "notes.db"),
    ) as service:
        async with Client(by_url(service.url, service.token)) as client:
            assert (await client.call(AddNote(text="a note"), Note)).number == 1
            answers = client.stream(SearchRequest(text="needle"), Match, Searched)
            assert [type(answer) async for answer in answers] == [Match, Searched]
            with pytest.raises(RequestFailed, match="one line of text"):
                await client.call(SearchRequest(), Searched)
