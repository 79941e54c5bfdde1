"""The token appears nowhere in what the service writes and sends, except in the runtime file."""

import io
import json
from pathlib import Path

import psutil
from aiohttp import ClientSession
from google.protobuf.message import Message
from pydantic import SecretStr

from callboard_service.log import make_log
from callboard_service.make_backend import ECHO
from callboard_service.service import Service
from callboard_service.settings import Settings
from tests.e2e.contract_client import Contract, message
from tests.e2e.service_process import ServiceProcess, running
from tests.security.raw import frame, greeted, hello, plain, refused, upgrade, upgraded
from transport.client import Client, by_url
from transport.client.calls import Endpoint
from transport.discovery import RuntimeRecord
from transport.server.server import ServerSettings


async def provoke(service: ServiceProcess, canary: str) -> None:
    """Make the service log in every way, with the token wherever a peer can put it."""
    async with service.connect(client_name="canary") as client:
        conversation = await client.conversation(canary)
        crashed = await client.reply(conversation, f"{canary} [[crash]]")
        assert crashed[-1].error.code == "INTERNAL"
        assert canary not in crashed[-1].error.message
        assert (await client.reply(conversation, canary))[-1].WhichOneof("payload") == "completed"
    near_misses = (canary[:-1], canary + "x", canary.upper())
    for token in near_misses:
        async with upgraded(service) as raw:
            await raw.send(frame(hello(token, client_name=canary)))
            assert await raw.close_code() == 4501
    async with greeted(service) as raw:
        await raw.send(frame(b"\xff" + canary.encode()))
        assert await raw.close_code() == 4500
    for path in (f"/ws?token={canary}", f"/{canary}", f"/ws/{canary}?{canary}"):
        await refused(service, path=path)
    for header in ("Origin", "Cookie", "Authorization", "Sec-WebSocket-Protocol", "X-Other"):
        await refused(service, [(header, canary)])
    for broken in (canary, f"GET /{canary} HTTP/9", f"GET / HTTP/1.1\r\n{canary}"):
        async with plain(service) as raw:
            await raw.send(f"{broken}\r\n\r\n".encode())
            await raw.end()
    async with plain(service) as raw:
        await raw.send(upgrade(canary, named=True))
        await raw.end()


async def test_the_token_is_in_no_log_at_debug_level(service: ServiceProcess, canary: str) -> None:
    await provoke(service, canary)
    log = service.log.read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    events = {line["event"] for line in lines}
    assert {"actor crashed", "bad token", "refused", "session opened"} <= events
    assert {line.get("library") for line in lines} >= {"aiohttp.server", "aiohttp.websocket"}
    assert any("Traceback" in str(line.get("exception")) for line in lines)
    assert canary not in log
    assert canary.upper() not in log
    assert canary[:-1] not in log


async def test_the_token_is_in_no_answer(service: ServiceProcess, canary: str) -> None:
    def packed(name: str) -> Message:
        wrapped = message("google.protobuf.Any")
        wrapped.Pack(message(name))
        assert isinstance(wrapped, Message)
        return wrapped

    async with service.connect() as client:
        status = await client.call(call=packed("ServiceStatusRequest"))
        assert status.WhichOneof("payload") == "reply"
        said = status.SerializeToString() + client.welcome.SerializeToString()
    assert canary.encode() not in said
    base = service.ready["page"]
    bearer = {"Authorization": f"Bearer {canary}"}
    async with ClientSession() as http:
        for path in ("", "healthz", "metrics", "ws", "nothing"):
            for headers in ({}, bearer):
                async with http.get(base + path, headers=headers) as answer:
                    head = str(answer.raw_headers)
                    assert canary not in head + await answer.text()
        async with http.get(base + "metrics", headers=bearer) as answer:
            assert (answer.status, "callboard_" in await answer.text()) == (200, True)


def holders(service: ServiceProcess, canary: str) -> list[Path]:
    """Return the files of the service that contain the token."""
    files = [path for path in service.log.parent.rglob("*") if path.is_file()]
    return [path for path in files if canary.encode() in path.read_bytes()]


async def test_the_token_is_in_no_argument_list_and_in_its_file_alone(
    service: ServiceProcess, canary: str, tmp_path: Path
) -> None:
    """The service writes the token to its runtime file; a conversation has what a client says."""
    process = psutil.Process(service.process.pid)
    for one in (process, *process.children(recursive=True)):
        assert not [word for word in one.cmdline() if canary in word]
    assert canary not in json.dumps(service.ready)
    runtime_file = Path(service.ready["runtime_file"])
    found = holders(service, canary)
    assert [path for path in found if not path.name.startswith(ECHO)] == [runtime_file]
    assert runtime_file.stat().st_mode & 0o777 == 0o600
    assert runtime_file.parent.stat().st_mode & 0o777 == 0o700
    with running(tmp_path, "--backend", "echo", CALLBOARD_TOKEN=canary) as another:
        async with another.connect() as client:
            await client.reply(await client.conversation(), "no secret")
        assert holders(another, canary) == [Path(another.ready["runtime_file"])]


async def test_the_token_is_in_no_repr(canary: str, tmp_path: Path) -> None:
    secret = SecretStr(canary)
    settings = Settings(token=secret, openai_api_key=secret, backend="echo", data_dir=tmp_path)
    log = make_log("debug", io.StringIO())
    service = Service(settings, log)
    seen = [
        settings,
        service,
        ServerSettings(token=canary, backend="echo", version="0"),
        RuntimeRecord(1, "ws://x", "http://x", canary, "echo", "0", 1.0),
        Endpoint("ws://x", canary, 1.0),
        Client(by_url("ws://x", canary)),
        Contract("ws://x", canary),
    ]
    for one in seen:
        assert canary not in f"{one!r} {one!s} {[one]!r}"


def test_a_traceback_on_a_terminal_shows_no_variables(canary: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def crash(token: str) -> None:
        held = [token]
        raise ValueError(len(held))

    stream = Terminal()
    try:
        crash(canary)
    except ValueError as error:
        make_log("debug", stream).error("crashed", exc_info=error)
    assert "ValueError" in stream.getvalue()
    assert canary not in stream.getvalue()
