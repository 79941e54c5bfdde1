"""The process ends when it is told to, whatever it is doing; an exit in a handler is a crash."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import BoolValue, BytesValue, Int64Value, StringValue

from tests.e2e.contract_client import Contract, message, text_of
from tests.e2e.service_process import ServiceProcess, environment, run, running

FOLDER = str(Path(__file__).parent)
DRAIN = 0.2
ODD = ("--backend", "echo", "--drain-ms", str(round(DRAIN * 1000)), "--actors", "odd_actors")
LIMIT = DRAIN + 5.0
SLACK = 3.0
"""Extra seconds that a busy machine may take."""


def packed(value: str | bytes | bool | int) -> Any:
    kinds: dict[type, Any] = {
        str: StringValue,
        bytes: BytesValue,
        bool: BoolValue,
        int: Int64Value,
    }
    into = message("google.protobuf.Any")
    into.Pack(kinds[type(value)](value=value))
    return into


@pytest.fixture(params=["asyncio", "uvloop"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A service with misbehaving handlers, on each kind of event loop."""
    if request.param == "uvloop" and sys.platform == "win32":
        pytest.skip("no uvloop on Windows")
    with running(tmp_path, *ODD, "--loop", request.param, PYTHONPATH=FOLDER) as service:
        yield service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    with running(tmp_path, *ODD, PYTHONPATH=FOLDER) as service:
        yield service


def lines_of(service: ServiceProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.log.read_text().splitlines()]


async def logged(service: ServiceProcess, event: str) -> dict[str, Any]:
    """Wait for a log line with this event and return it."""
    while True:
        for line in lines_of(service):
            if line["event"] == event:
                return line
        await asyncio.sleep(0.01)


async def started(client: Contract, what: str) -> int:
    """Open a request that does not end; return its id once a later one has been answered."""
    request_id = await client.open(call=packed(what))
    assert (await client.call(call=packed("fine"))).reply.type_url
    return request_id


async def ended(service: ServiceProcess) -> tuple[int, float]:
    """Wait for the process to end; return its exit code and the seconds that took."""
    began = time.monotonic()
    return await service.wait(), time.monotonic() - began


# -- handlers that exit --------------------------------------------------------------------------


async def test_an_exit_in_a_handler_is_the_crash_of_its_request(odd: ServiceProcess) -> None:
    async with odd.connect() as client:
        for what in ("exit", "interrupt", b"plain"):
            answer = await client.call(call=packed(what))
            assert answer.error.code == "INTERNAL"
        answers = await client.all(await client.open(call=packed(7)))
        assert answers[-1].error.code == "INTERNAL"
        for what in ("timer", "task"):
            assert (await client.call(call=packed(what))).reply.type_url
        assert text_of(await client.reply(await client.conversation(), "hello")) == "hello"
    odd.signal()
    assert await odd.wait() == 0
    lines = lines_of(odd)
    crashes = [line for line in lines if line["event"] == "actor crashed"]
    assert [line["handler"] for line in crashes] == [
        "odd_actors.Odd.handle",
        "odd_actors.Odd.handle",
        "odd_actors.Plain.handle",
        "odd_actors.Streaming.handle",
    ]
    (timer, task) = [line for line in lines if line["event"].startswith("raised in the event loop")]
    assert "fail_in_a_timer" in timer["exception"]
    assert "SystemExit: 5" in task["exception"]
    assert lines[-1]["event"] == "stopped"


async def test_signals_are_heard_after_an_exit_came_through_the_loop(odd: ServiceProcess) -> None:
    async with odd.connect() as client:
        await client.call(call=packed("timer"))
        await logged(odd, "raised in the event loop, outside of any actor")
        await client.call(call=packed("fine"))
        await client.open(call=packed("block"))
        await logged(odd, "blocking")
        odd.signal(signal.SIGTERM)
        odd.signal(signal.SIGINT)
        code, seconds = await ended(odd)
    assert code in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert seconds < SLACK


# -- shutdown ------------------------------------------------------------------------------------


async def test_a_handler_that_stops_the_event_loop_stops_no_service(odd: ServiceProcess) -> None:
    async with odd.connect() as client:
        await client.call(call=packed("stop the loop"))
        await logged(odd, "raised in the event loop, outside of any actor")
        assert text_of(await client.reply(await client.conversation(), "hello")) == "hello"
    odd.signal()
    assert await odd.wait() == 0


async def test_a_handler_that_cancels_every_task_leaves_no_runtime_file(
    odd: ServiceProcess,
) -> None:
    async with odd.connect() as client:
        await client.open(call=packed("cancel all"))
        assert await odd.wait() == 1
    assert not Path(odd.ready["runtime_file"]).exists()


@pytest.mark.parametrize("what", ["thread", "threads", "swallow", "hold the logging lock"])
async def test_what_is_left_does_not_hold_the_end_up(service: ServiceProcess, what: str) -> None:
    async with service.connect() as client:
        if what in ("threads", "hold the logging lock"):
            await client.call(call=packed(what))
        else:
            await started(client, what)
    service.signal()
    code, seconds = await ended(service)
    assert (code, lines_of(service)[-1]["event"]) == (0, "stopped")
    assert seconds < LIMIT + SLACK
    assert not Path(service.ready["runtime_file"]).exists()


async def test_a_blocked_loop_does_not_hold_the_end_up(odd: ServiceProcess) -> None:
    async with odd.connect() as client:
        await started(client, "fine")
        await client.open(call=packed("block"))
        await logged(odd, "blocking")
        odd.signal()
        code, seconds = await ended(odd)
    assert code == 1
    assert seconds < LIMIT + SLACK
    assert not Path(odd.ready["runtime_file"]).exists()


async def test_a_calculation_with_the_interpreter_lock_does_not_hold_the_end_up(
    odd: ServiceProcess,
) -> None:
    async with odd.connect() as client:
        await client.open(call=packed("calculate"))
        await logged(odd, "calculating")
        await asyncio.sleep(1.0)  # the calculation begins half a second after that line
        odd.signal()
        code, seconds = await ended(odd)
    assert code == 1
    assert seconds < LIMIT + SLACK


async def test_an_actor_that_does_not_stop_does_not_hold_the_end_up(tmp_path: Path) -> None:
    flags = (*ODD[:-1], "odd_actors:register_hanging")
    with running(tmp_path, *flags, PYTHONPATH=FOLDER) as service:
        service.signal()
        code, seconds = await ended(service)
        assert code == 1
        assert seconds < LIMIT + SLACK
        assert lines_of(service)[-1]["event"] == "not stopped in time"
        assert lines_of(service)[-1]["left"] == ["store", "extensions"]
    assert not Path(service.ready["runtime_file"]).exists()


async def test_a_second_signal_ends_a_blocked_loop_at_once(odd: ServiceProcess) -> None:
    async with odd.connect() as client:
        await client.open(call=packed("block"))
        await logged(odd, "blocking")
        odd.signal(signal.SIGTERM)
        odd.signal(signal.SIGINT)
        code, seconds = await ended(odd)
    assert code in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert seconds < SLACK
    assert not Path(odd.ready["runtime_file"]).exists()


async def test_the_end_of_the_parent_ends_a_blocked_loop(tmp_path: Path) -> None:
    with running(tmp_path, *ODD, "--watch-stdin", PYTHONPATH=FOLDER) as service:
        async with service.connect() as client:
            await client.open(call=packed("block"))
            await logged(service, "blocking")
            assert service.process.stdin is not None
            service.process.stdin.close()
            code, seconds = await ended(service)
    assert code == 1
    assert seconds < LIMIT + SLACK
    assert not Path(service.ready["runtime_file"]).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGHUP")
async def test_a_terminal_that_is_closed_stops_the_service(odd: ServiceProcess) -> None:
    async with odd.connect() as client:
        request_id = await client.say(await client.conversation(), "[[delay:20]]a b c")
        await anext(client.answers(request_id))
        odd.signal(signal.SIGHUP)
        assert (await client.all(request_id))[-1].WhichOneof("payload") == "completed"
    assert await odd.wait() == 0
    assert lines_of(odd)[-1]["event"] == "stopped"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGHUP")
async def test_a_second_sighup_does_not_cut_the_end_short(odd: ServiceProcess) -> None:
    async with odd.connect() as client:
        request_id = await client.say(await client.conversation(), "[[delay:60000]]never")
        odd.signal(signal.SIGHUP)
        await logged(odd, "stopping")
        odd.signal(signal.SIGHUP)  # the shell sends one, the kernel another when it ends
        assert (await client.all(request_id))[-1].error.code == "UNAVAILABLE"
    assert await odd.wait() == 0
    assert lines_of(odd)[-1]["event"] == "stopped"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGHUP")
async def test_a_service_under_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        # The hash seed has an interpreter started, which inherits what this process ignores.
        with running(tmp_path, *ODD, PYTHONPATH=FOLDER, PYTHONHASHSEED="0") as service:
            service.signal(signal.SIGHUP)
            async with service.connect() as client:
                assert (await client.call(call=packed("fine"))).reply.type_url
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_while_it_starts_stops_it(tmp_path: Path) -> None:
    (tmp_path / "slow_actors.py").write_text(
        "import asyncio\n"
        "from pathlib import Path\n"
        "from actors import Actor\n"
        "class Slow(Actor[str]):\n"
        "    async def started(self):\n"
        "        Path('starting').touch()\n"
        "        await asyncio.Event().wait()\n"
        "    def receive(self, message): ...\n"
        "def register(registry): registry.supervise('slow', Slow)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", "from callboard_service.entry import main; main()",
         "serve", "--backend", "echo", "--actors", "slow_actors"],
        cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not (tmp_path / "starting").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert not list((tmp_path / "run").glob("*.json"))


# -- starts that fail ----------------------------------------------------------------------------


def in_a_folder_that_is_gone(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a command in a working folder that is deleted before it begins."""
    gone = folder / "gone"
    gone.mkdir()
    program = (
        "import os, sys; os.rmdir(os.getcwd()); sys.argv[0] = 'callboard'\n"
        "from callboard_service.entry import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        cwd=gone, env=environment(folder),
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use cannot be deleted there")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["serve", "--backend", "opencode", "--opencode-command", sys.executable], 2),
        (["serve", "--backend", "local", "--data-dir", "relative"], 2),
        (["serve", "--backend", "echo", "--actors", "no_such_module"], 2),
        (["serve", "--backend", "echo", "--unix-socket", "relative"], 2),
        (["new", "relative"], 2),
        (["status"], 3),
        (["sessions", "list"], 3),
        (["chat", "hello"], 3),
    ],
)
def test_a_working_folder_that_is_gone_is_one_line(
    tmp_path: Path, arguments: list[str], code: int
) -> None:
    found, out, err = in_a_folder_that_is_gone(tmp_path, *arguments)
    assert (found, out, len(err.splitlines())) == (code, "", 1), err
    assert err.startswith("callboard: ")


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"HOME": "relative", "XDG_CONFIG_HOME": ""}, "home"),
        ({"CALLBOARD_DATA_DIR": "a\udcffb"}, None),
    ],
)
def test_odd_variables_are_one_line_or_none(
    tmp_path: Path, variables: dict[str, str], named: str | None
) -> None:
    code, _, err = run(tmp_path, "status", **variables)
    assert code in (2, 3), err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "command", [["serve"], ["status"], ["chat", "hello"], ["sessions", "list"]]
)
def test_a_settings_file_that_is_a_folder_is_one_line_and_exit_2(
    tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "callboard.toml").mkdir()
    assert run(tmp_path, *command) == (2, "", "callboard: callboard.toml: is a directory\n")


def test_a_path_with_a_null_character_is_one_line_and_exit_2(tmp_path: Path) -> None:
    own = tmp_path / "config" / "callboard" / "callboard.toml"
    own.parent.mkdir(parents=True)
    own.write_text('unix_socket = "a\\u0000b"\n')
    folder = str(tmp_path / "config")
    code, _, err = run(tmp_path, "serve", "--backend", "echo", XDG_CONFIG_HOME=folder)
    assert (code, err) == (2, "callboard: unix_socket: a path must not contain a null character\n")


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="needs to be root")
def test_a_user_without_a_home_directory_is_one_line_and_exit_2(tmp_path: Path) -> None:
    program = (
        "import os\n"
        "from callboard_service.entry import main\n"
        "import callboard_service.cli, callboard_service.serve\n"
        "os.setuid(54321); os.environ.pop('HOME', None)\n"
        "main()"
    )
    variables = environment(tmp_path)
    for name in ("HOME", "XDG_CONFIG_HOME", "CALLBOARD_DATA_DIR"):
        variables.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", program, "serve"],
        capture_output=True, text=True, timeout=60, check=False, cwd="/", env=variables,
    )  # fmt: skip
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "home directory" in done.stderr


# -- an endless handler --------------------------------------------------------------------------


async def test_an_end_waits_for_no_endless_request(tmp_path: Path) -> None:
    """A shutdown ends endless requests at once, with the advice of GoingAway, and is over."""
    drain = 100.0
    flags = (*ODD, "--drain-ms", str(round(drain * 1000)))
    with running(tmp_path, *flags, PYTHONPATH=FOLDER) as service:
        async with service.connect() as client:
            request_ids = [await client.open(call=packed(True)) for _ in range(20)]
            for request_id in request_ids:
                await anext(client.answers(request_id))
            service.signal()
            going = await client.queue(0).get()
            for request_id in request_ids:
                error = (await client.all(request_id))[-1].error
                assert (error.code, error.retryable) == ("UNAVAILABLE", True)
                assert error.retry_after_ms == going.going_away.reconnect_after_ms > 0
            code, seconds = await ended(service)
    assert code == 0
    assert seconds < drain / 2
