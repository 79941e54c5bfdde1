"""Shutdown of the service: requested, forced, or because its parent has ended."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.e2e.contract_client import kinds_of, message, parse, runtime_record
from tests.e2e.service_process import ServiceProcess, run, running


async def test_fifty_running_streams_each_get_their_end(tmp_path: Path) -> None:
    flags = ("--backend", "echo", "--drain-ms", "300")
    with running(tmp_path, *flags) as service:
        async with service.connect() as client:
            conversations = [await client.conversation() for _ in range(50)]
            ids = [await client.say(c, "[[delay:20]][[repeat:100000]]") for c in conversations]
            for request_id in ids:
                await anext(client.answers(request_id))
            service.signal(signal.SIGTERM)
            going = await client.queue(0).get()
            assert going.WhichOneof("payload") == "going_away"
            advice = going.going_away.reconnect_after_ms
            assert advice > 0
            late = await client.call(list_sessions=message("ListSessionsRequest"))
            replies = await asyncio.gather(*map(client.all, ids))
            for error in (late.error, *(reply[-1].error for reply in replies)):
                assert (error.code, error.retryable) == ("UNAVAILABLE", True)
                assert error.retry_after_ms == advice
            await client.socket.wait_closed()
            assert client.socket.close_code == 4001
            assert await service.wait() == 0
            ends = [answer.request_id for answer in client.received if answer.end]
            assert sorted(ends) == sorted({*ends})
            assert not list((tmp_path / "run").iterdir())


async def test_running_requests_may_end_within_the_drain_time(echo: ServiceProcess) -> None:
    async with echo.connect() as client:
        request_id = await client.say(await client.conversation(), "[[delay:50]]a b c d e f")
        await anext(client.answers(request_id))
        echo.signal()
        going = await client.queue(0).get()
        assert going.going_away.reconnect_after_ms > 0
        async with connect(echo.url, proxy=None) as late:
            with pytest.raises(ConnectionClosed) as refused:
                hello = message("ClientMessage", hello=client.hello)
                await late.send(hello.SerializeToString())
                turned_away = await late.recv()
                assert isinstance(turned_away, bytes)
                assert parse("ServerMessage", turned_away).going_away == going.going_away
                await late.recv()
            assert refused.value.rcvd is not None
            assert refused.value.rcvd.code == 4001
        assert kinds_of(await client.all(request_id))[-1] == "completed"
    assert await echo.wait() == 0


async def test_the_sessions_that_a_shutdown_waits_for_are_logged(tmp_path: Path) -> None:
    with running(tmp_path, "--backend", "echo", "--drain-ms", "600") as service:
        client = service.connect()
        async with client:
            request_id = await client.say(await client.conversation(), "[[ask:question]]")
            await anext(client.answers(request_id))
            client.socket.transport.abort()  # it may come back, so its request goes on
            await service.until("callboard_connections", 0)
            service.signal()
            assert await service.wait() == 0
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    opened = next(line["session"] for line in lines if line["event"] == "session opened")
    (waiting,) = [line for line in lines if line["event"] == "waiting for requests to end"]
    assert (waiting["sessions"], waiting["count"]) == ([opened], 1)
    assert waiting["connections"] == 0
    assert 0 < waiting["seconds"] < 0.6


def test_a_variable_that_nothing_reads_is_told_once(tmp_path: Path) -> None:
    with running(tmp_path, "--backend", "echo", CALLBOARD_MAX_SESSION="secret") as service:
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    (told,) = [line for line in lines if line["event"] == "unknown variable"]
    assert (told["name"], told["meant"]) == ("CALLBOARD_MAX_SESSION", "CALLBOARD_MAX_SESSIONS")
    assert told["level"] == "warning"
    assert "secret" not in str(told)


def test_an_impossible_data_folder_is_an_error_with_echo_too(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "data"
    code, out, err = run(tmp_path, "serve", "--backend", "echo", "--data-dir", str(folder))
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert f"data_dir: {folder}: Not a directory" in err


async def test_a_second_signal_ends_at_once(echo: ServiceProcess) -> None:
    async with echo.connect() as client:
        request_id = await client.say(await client.conversation(), "[[ask:question]]")
        await anext(client.answers(request_id))
        echo.signal(signal.SIGINT)
        await client.queue(0).get()
        echo.signal(signal.SIGINT)
        assert await echo.wait() == 128 + signal.SIGINT
    assert not Path(echo.ready["runtime_file"]).exists()


async def test_a_peer_that_never_reads_does_not_hold_the_end_up(tmp_path: Path) -> None:
    flags = ("--backend", "echo", "--drain-ms", "100")
    with running(tmp_path, *flags) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=1)
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )

        def frame(data: bytes) -> bytes:
            length = len(data)
            assert length < 65536
            size = bytes((0x80 | length,)) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
            return b"\x82" + size + bytes(4) + data

        async with service.connect() as other:
            conversation = await other.conversation()
            hello = message("ClientMessage", hello=message("Hello", token=service.token))
            writer.write(frame(hello.SerializeToString()))
            text = "[[repeat:3000000]]"
            say = message("SendMessageRequest", session_id=conversation, text=text)
            flood = message("ClientMessage", request_id=1, send_message=say)
            writer.write(frame(flood.SerializeToString()))
            await reader.read(1)
            # Another client is served while that stream stands still.
            reply = await other.reply(await other.conversation(), "[[repeat:2000]]")
            assert len(reply) == 2001
            before = psutil.Process(service.process.pid).memory_info().rss
            await other.reply(await other.conversation(), "[[repeat:20000]]")
            grown = psutil.Process(service.process.pid).memory_info().rss - before
            assert grown < 32 * 1024 * 1024
        service.signal()
        assert await service.wait() == 0
        writer.transport.abort()


async def test_the_runtime_file_is_private_and_goes_with_the_service(tmp_path: Path) -> None:
    with running(tmp_path, "--backend", "echo") as service:
        folder = tmp_path / "run"
        record = runtime_record(folder)
        assert record == service.record
        assert record["pid"] == service.process.pid
        assert record["url"] == service.url
        assert record["backend"] == "echo"
        assert len(record["token"]) >= 43
        path = Path(service.ready["runtime_file"])
        assert path.stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700
        cmdline = psutil.Process(service.process.pid).cmdline()
        assert not any(service.token in argument for argument in cmdline)
        service.signal()
        assert await service.wait() == 0
        assert not path.exists()
        assert service.token not in service.log.read_text()


async def test_it_ends_when_standard_input_is_closed(tmp_path: Path) -> None:
    with running(tmp_path, "--backend", "echo", "--watch-stdin") as service:
        assert service.process.stdin is not None
        service.process.stdin.close()
        assert await service.wait() == 0


async def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=-1)
    try:
        flags = ("--backend", "echo", "--parent-pid", str(parent.pid))
        with running(tmp_path, *flags) as service:
            parent.kill()
            await parent.wait()
            assert await service.wait() == 0
    finally:
        if parent.returncode is None:
            parent.kill()


async def test_kill_9_leaves_a_runtime_file_that_the_next_start_removes(
    tmp_path: Path,
) -> None:
    with running(tmp_path, "--backend", "echo") as service:
        stale = Path(service.ready["runtime_file"])
        service.signal(signal.SIGKILL)
        await service.wait()
        assert stale.exists()
    with running(tmp_path, "--backend", "echo"):
        assert not stale.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the rule is for Linux")
@pytest.mark.parametrize("named", ["file", "gone", "."])
def test_an_unusable_runtime_folder_leads_service_and_client_to_the_same_one(
    tmp_path: Path, named: str
) -> None:
    (tmp_path / "file").touch()
    settings = {
        "CALLBOARD_RUNTIME_DIR": "",
        "XDG_RUNTIME_DIR": named if named == "." else str(tmp_path / named),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    with running(tmp_path, "--backend", "echo", **settings) as service:
        folder = Path(service.ready["runtime_file"]).parent
        assert folder in (
            Path(f"/run/user/{os.getuid()}/callboard"),
            tmp_path / "cache" / "callboard" / "run",
        )
        code, out, err = run(tmp_path, "status", "--json", **settings)
        assert (code, err) == (0, "")
        assert json.loads(out)["backend"] == "echo"


def test_a_data_folder_that_others_may_use_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o777)
    with running(tmp_path, "--backend", "echo") as service:
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    (said,) = [line for line in lines if "other users" in line["event"]]
    assert said["level"] == "warning"
    assert said["files"] == [f"{tmp_path / 'data'} (mode 0777)"]


def test_a_port_that_is_taken_is_one_line_and_exit_2(echo: ServiceProcess, tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "serve", "--backend", "echo", "--port", str(echo.port))
    assert (code, out) == (2, "")
    assert f"cannot listen on 127.0.0.1:{echo.port}" in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize("blocked", ["run", "data"])
def test_a_folder_that_cannot_be_made_is_one_line_and_exit_2(tmp_path: Path, blocked: str) -> None:
    (tmp_path / blocked).write_text("a file in the way")
    backend = "echo" if blocked == "run" else "local"
    code, _, err = run(tmp_path, "serve", "--backend", backend)
    assert code == 2
    assert str(tmp_path / blocked) in err.splitlines()[-1]
    assert "Traceback" not in err
    assert (tmp_path / blocked).read_text() == "a file in the way"


@pytest.mark.parametrize(
    ("arguments", "settings", "named"),
    [
        (["--port", "70000"], {}, "port"),
        (["--backend", "nonsense"], {}, "--backend"),
        ([], {"CALLBOARD_PORT": "many"}, "port"),
        ([], {"CALLBOARD_TOKEN": "short"}, "token"),
        (["--local-model", "nowhere.gguf"], {}, "nowhere.gguf"),
    ],
)
def test_a_bad_setting_is_named_and_exit_2(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], named: str
) -> None:
    code, out, err = run(tmp_path, "serve", *arguments, **settings)
    assert (code, out) == (2, "")
    assert named in err
    assert "Traceback" not in err


async def test_settings_come_from_flags_then_environment_then_the_file(tmp_path: Path) -> None:
    (tmp_path / "callboard.toml").write_text('backend = "echo"\nmax_message_bytes = 2048\n')
    settings = {"CALLBOARD_MAX_REQUESTS_IN_FLIGHT": "7", "CALLBOARD_MAX_MESSAGE_BYTES": "4096"}
    flags = ("--max-requests-in-flight", "5")
    with running(tmp_path, *flags, **settings) as service:
        async with service.connect() as client:
            assert client.welcome.backend == "echo"
            assert client.welcome.limits.max_requests_in_flight == 5
            assert client.welcome.limits.max_message_bytes == 4096


@pytest.mark.parametrize("command", [["serve"], ["status"], ["chat", "hello"]])
def test_a_key_that_a_working_folder_may_not_set_is_one_line_and_exit_2(
    tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "callboard.toml").write_text('openai_base_url = "http://127.0.0.1:9/v1"\n')
    key = "s3cr3t-of-this-test"
    code, out, err = run(tmp_path, *command, CALLBOARD_OPENAI_API_KEY=key)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("callboard: openai_base_url: callboard.toml in the working folder")
    assert key not in err


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('OPENAI_BASE_URL = "http://127.0.0.1:9/v1"', "openai_base_url"),
        ('OpenAI_Base_URL = "http://127.0.0.1:9/v1"', "openai_base_url"),
        ('ACTORS = ["anything"]', "actors"),
        ('Backend = "openai"', "backend"),
        ('to\u212aen = "anything"', "token"),
    ],
)
def test_no_spelling_of_a_key_gets_it_past_the_rule_for_a_working_folder(
    tmp_path: Path, line: str, name: str
) -> None:
    (tmp_path / "callboard.toml").write_text(line.replace("to\u212aen", '"to\u212aen"'))
    code, out, err = run(tmp_path, "serve", CALLBOARD_OPENAI_API_KEY="s3cr3t-of-this-test")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"callboard: {name}: callboard.toml in the working folder")


def test_an_unknown_key_in_the_file_is_named_and_exit_2(tmp_path: Path) -> None:
    (tmp_path / "callboard.toml").write_text('bakend = "echo"\n')
    code, _, err = run(tmp_path, "serve")
    assert code == 2
    assert err == "callboard: bakend: there is no such setting; did you mean backend?\n"
