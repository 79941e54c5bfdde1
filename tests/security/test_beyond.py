"""TLS, Unix sockets and access beyond loopback are opt-in, and still require the token."""

import asyncio
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from aiohttp import ClientSession, ClientSSLError, UnixConnector, WSMsgType, WSServerHandshakeError

from callboard_service.errors import BadSettings
from callboard_service.load_settings import load
from tests.e2e.contract_client import parse
from tests.e2e.service_process import ServiceProcess, run, running
from tests.security.raw import hello, refused, upgrade
from tests.support.peers.certificates import Certificate, make_certificate

ECHO = ("--backend", "echo")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "board.example")


async def code(http: ClientSession, url: str, first: bytes) -> int:
    """Send this first message; return 0 for a Welcome, or the close code."""
    async with http.ws_connect(url) as web_socket:
        await web_socket.send_bytes(first)
        answer = await web_socket.receive()
        if answer.type is WSMsgType.BINARY:
            assert parse("ServerMessage", answer.data).WhichOneof("payload") == "welcome"
            return 0
        assert web_socket.close_code is not None
        return web_socket.close_code


def refuses_to_start(folder: Path, *flags: str) -> str:
    """Check that the service does not start, and return the last line of its errors."""
    exit_code, out, err = run(folder, "serve", *ECHO, *flags)
    assert (exit_code, out) == (2, "")
    return err.splitlines()[-1]


# -- opting in -----------------------------------------------------------------------------------


def test_all_interfaces_are_refused_without_opting_in(tmp_path: Path) -> None:
    said = refuses_to_start(tmp_path, "--host", "0.0.0.0")
    assert "other machines can reach 0.0.0.0" in said
    assert "expose=tls" in said


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"host": "::"}, "other machines can reach ::"),
        ({"host": "192.0.2.1"}, "expose=tls"),
        ({"host": "example.org"}, "expose=tls"),
        ({"host": "localhost.evil.example"}, "expose=tls"),
        ({"host": "0.0.0.0", "expose": "yes"}, "expose"),
        ({"host": "0.0.0.0", "expose": "plain"}, "allowed_hosts"),
        ({"host": "0.0.0.0", "expose": "tls", "allowed_hosts": "a"}, "tls_certificate"),
        ({"tls_key": "key.pem"}, "must be set together"),
        ({"unix_socket": "s", "port": 1}, "cannot be combined"),
        ({"unix_socket": "s", "host": "0.0.0.0", "expose": "plain"}, "cannot be combined"),
        ({"allowed_hosts": "*"}, "is not a host"),
        ({"allowed_hosts": "a,"}, "is not a host"),
        ({"allowed_origins": "*"}, "is not an origin"),
        ({"allowed_origins": "null"}, "is not an origin"),
        ({"allowed_origins": "https://app.example/path"}, "is not an origin"),
    ],
)
def test_invalid_settings_are_refused_with_the_reason(
    settings: dict[str, object], reason: str
) -> None:
    with pytest.raises(BadSettings) as error:
        load(settings)
    assert reason in str(error.value)


async def test_an_exposed_service_accepts_listed_names_and_pages_and_no_foreign_ones(
    tmp_path: Path,
) -> None:
    flags = ("--host", "0.0.0.0", "--expose", "plain", "--allowed-hosts", "board.example")
    with running(tmp_path, *ECHO, *flags, "--allowed-origins", "https://app.example") as service:
        assert service.url == f"ws://127.0.0.1:{service.port}/ws"
        connections = psutil.Process(service.process.pid).net_connections("inet")
        assert [connection.laddr.ip for connection in connections] == ["0.0.0.0"]
        app = ("Origin", "https://app.example")
        for host, origin, status in (
            ("board.example", app, 101),
            (f"board.example:{service.port}", app, 101),
            (f"127.0.0.1:{service.port}", app, 101),
            (f"0.0.0.0:{service.port}", app, 421),
            ("evil.example", app, 421),
            ("board.example", ("Origin", "https://evil.example"), 403),
            ("board.example", ("Origin", "https://app.example.evil.example"), 403),
            ("board.example", ("Origin", "https://board.example"), 403),
        ):
            assert await refused(service, [("Host", host), origin], named=False) == status
        async with ClientSession() as http:
            assert await code(http, service.url, hello(service.token)) == 0
            for wrong in ("", service.token[:-1]):
                assert await code(http, service.url, hello(wrong)) == 4501


# -- TLS -----------------------------------------------------------------------------------------


async def test_with_tls_all_is_encrypted_and_the_token_is_still_needed(
    tmp_path: Path, certificate: Certificate
) -> None:
    flags = ("--tls-certificate", str(certificate.chain), "--tls-key", str(certificate.key))
    with running(tmp_path, *ECHO, *flags, "--allowed-hosts", "board.example") as service:
        assert service.url == f"wss://board.example:{service.port}/ws"
        assert service.record["page"] == f"https://board.example:{service.port}/"
        url = f"wss://localhost:{service.port}/ws"
        trusting = ssl.create_default_context(cafile=str(certificate.chain))
        async with ClientSession() as http:
            for first, expected in ((hello(service.token), 0), (hello("wrong"), 4501)):
                async with http.ws_connect(url, ssl=trusting) as web_socket:
                    await web_socket.send_bytes(first)
                    await web_socket.receive()
                    assert (web_socket.close_code or 0) == expected
            own = {"Origin": f"https://localhost:{service.port}"}
            async with http.ws_connect(url, ssl=trusting, headers=own):
                pass
            for origin in (f"http://localhost:{service.port}", "https://evil.example"):
                with pytest.raises(WSServerHandshakeError) as denied:
                    await http.ws_connect(url, ssl=trusting, headers={"Origin": origin})
                assert denied.value.status == 403
            with pytest.raises(ClientSSLError):
                await http.ws_connect(url)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(certificate.chain)
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection("localhost", service.port, ssl=old)
        # A request without TLS is not granted.
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(upgrade(f"localhost:{service.port}"))
        assert b"101" not in await reader.read()
        writer.close()


async def test_our_own_commands_come_in_by_tls(tmp_path: Path, certificate: Certificate) -> None:
    flags = ("--tls-certificate", str(certificate.chain), "--tls-key", str(certificate.key))
    with running(tmp_path, *ECHO, *flags) as service:
        assert service.url == f"wss://127.0.0.1:{service.port}/ws"
        said = await asyncio.to_thread(
            run, tmp_path, "chat", "hello there", SSL_CERT_FILE=str(certificate.chain)
        )
        assert said[:2] == (0, "hello there\n")
        untrusting = await asyncio.to_thread(run, tmp_path, "chat", "hello there")
        assert untrusting[0] == 3
        assert "certificate" in untrusting[2].lower()
        assert service.token not in untrusting[2]


# -- a Unix socket -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("unix")
    flags = ("--unix-socket", str(folder / "made" / "board.sock"))
    with running(folder, *ECHO, *flags, "--allowed-origins", "tauri://localhost") as service:
        yield service


def path_of(service: ServiceProcess) -> Path:
    return service.log.parent / "made" / "board.sock"


async def test_a_unix_socket_is_the_users_alone_and_no_port_is_open(
    on_socket: ServiceProcess,
) -> None:
    path = path_of(on_socket)
    assert on_socket.url == f"ws+unix:{path}:/ws"
    assert on_socket.record["page"] == ""
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert psutil.Process(on_socket.process.pid).net_connections("inet") == []


async def test_a_unix_socket_loosens_nothing(on_socket: ServiceProcess) -> None:
    url = "ws://localhost/ws"
    async with ClientSession(connector=UnixConnector(str(path_of(on_socket)))) as http:
        assert await code(http, url, hello(on_socket.token)) == 0
        for wrong in ("", on_socket.token[:-1]):
            assert await code(http, url, hello(wrong)) == 4501
        for headers, status in (
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "http://localhost"}, 403),
            ({"Origin": "null"}, 403),
            ({"Host": "evil.example"}, 421),
            ({"Host": "127.0.0.1"}, 421),
        ):
            with pytest.raises(WSServerHandshakeError) as denied:
                await http.ws_connect(url, headers=headers)
            assert denied.value.status == status
        async with http.ws_connect(url, headers={"Origin": "tauri://localhost"}):
            pass
        async with http.get("http://localhost/metrics") as answer:
            assert answer.status == 401


async def test_our_own_commands_come_in_by_the_socket(on_socket: ServiceProcess) -> None:
    folder = on_socket.log.parent
    said = await asyncio.to_thread(run, folder, "chat", "by the socket")
    assert said[:2] == (0, "by the socket\n")


@pytest.mark.skipif(os.getuid() != 0, reason="to become another user takes root")
async def test_another_user_is_refused_even_where_the_mode_lets_them_in(tmp_path: Path) -> None:
    # Even if an administrator opens the socket's mode, the peer's user id is checked.
    path = Path("/tmp") / f"callboard-test-{os.getpid()}.sock"
    with running(tmp_path, *ECHO, "--unix-socket", str(path)) as service:
        asked = f"""
import os, socket, sys
os.setuid(int(sys.argv[1]))
peer = socket.socket(socket.AF_UNIX)
peer.connect({str(path)!r})
peer.sendall({upgrade("localhost")!r})
print(peer.recv(100).decode().split()[1])
"""

        async def ask(user: int) -> "subprocess.CompletedProcess[bytes]":
            command = [sys.executable, "-c", asked, str(user)]
            return await asyncio.to_thread(
                subprocess.run, command, capture_output=True, check=False, timeout=20
            )

        assert b"PermissionError" in (await ask(65534)).stderr
        path.chmod(0o666)
        outcomes = {user: int((await ask(user)).stdout) for user in (65534, 0)}
        assert outcomes == {65534: 403, 0: 101}
        assert service.process.poll() is None
    assert not path.exists()


async def test_a_socket_of_a_dead_process_is_replaced_and_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "board.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with running(tmp_path / "first", *ECHO, "--unix-socket", str(path)) as first:
        said = await asyncio.to_thread(
            refuses_to_start, tmp_path / "second", "--unix-socket", str(path)
        )
        assert "another process already does" in said
        async with ClientSession(connector=UnixConnector(str(path))) as http:
            assert await code(http, "ws://localhost/ws", hello(first.token)) == 0
    assert not path.exists()


def test_nothing_else_is_replaced_and_no_folder_of_others_is_used(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("precious")
    link = tmp_path / "link"
    link.symlink_to(path)
    assert "is not a socket" in refuses_to_start(tmp_path, "--unix-socket", str(link))
    assert path.read_text() == "precious"
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    assert "others may write" in refuses_to_start(tmp_path, "--unix-socket", str(shared / "s"))


def test_the_ready_line_has_the_url_of_the_unix_socket(on_socket: ServiceProcess) -> None:
    assert on_socket.ready["url"] == on_socket.record["url"]
    assert on_socket.ready["page"] == ""
    assert json.loads(Path(on_socket.ready["runtime_file"]).read_text()) == on_socket.record
