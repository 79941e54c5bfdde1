"""A service listens on one socket at the given place, or says why it cannot."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest
from aiohttp import ClientSession, UnixConnector, web

from tests.support.peers.certificates import make_certificate
from transport.errors import CannotListen
from transport.server.listen import Listener, Place, is_loopback_host, listen
from transport.server.peer import only, peer_uid


async def opened(place: Place) -> Listener:
    """Open a listener whose protocol does nothing."""
    return await listen(asyncio.Protocol, place, 1.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_loopback_has_one_socket_and_its_url(host: str) -> None:
    listener = await opened(Place(host=host))
    name = "[::1]" if host == "::1" else host
    port = listener.url.removeprefix(f"ws://{name}:").removesuffix("/ws")
    assert listener.page == f"http://{name}:{port}/"
    assert f"localhost:{port}" in listener.access.hosts
    listener.close()
    listener.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_listening_beyond_loopback_is_opt_in(host: str) -> None:
    with pytest.raises(CannotListen, match="requires `expose`"):
        await opened(Place(host=host))
    listener = await opened(Place(host=host, names=("board.example",), exposed=True))
    assert listener.url.startswith(("ws://127.0.0.1:", "ws://[::1]:"))
    assert not [name for name in listener.access.hosts if "0.0.0.0" in name or "[::]" in name]
    listener.close()


async def test_a_port_that_is_taken_and_a_name_that_is_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1:{port}: "):
            await opened(Place(port=port))
    with pytest.raises(CannotListen, match=r"cannot listen on no\.such\.invalid"):
        await opened(Place(host="no.such.invalid", exposed=True))


async def test_unusable_keys_are_reported(tmp_path: Path) -> None:
    one = make_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other")
    locked = tmp_path / "locked.pem"
    locked.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIC\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    for key in (other.key, tmp_path / "none.pem", one.chain, locked):
        with pytest.raises(CannotListen, match="key"):
            await opened(Place(certificate=one.chain, key=key))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.0.2.1", False), ("localhost.example", False),
        ("", False), ("127.1", False),
    ],
)  # fmt: skip
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback_host(host) is loopback


async def test_the_system_names_the_user_at_a_unix_socket(tmp_path: Path) -> None:
    seen: list[int | None] = []

    async def handle(request: web.BaseRequest) -> web.Response:
        seen.append(peer_uid(request))
        assert only(os.getuid())(request)
        assert not only(os.getuid() + 1)(request)
        return web.Response()

    path = tmp_path / "s"
    server = web.Server(handle)
    listener = await listen(server, Place(unix_socket=path), 1.0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    there = UnixConnector(str(path))
    async with ClientSession(connector=there) as http, http.get("http://localhost/") as answer:
        assert answer.status == 200
    assert seen == [os.getuid()]
    listener.close()
    await server.shutdown()
    assert not path.exists()


async def test_a_tcp_peer_has_no_user(tmp_path: Path) -> None:
    seen: list[int | None] = []

    async def handle(request: web.BaseRequest) -> web.Response:
        seen.append(peer_uid(request))
        return web.Response()

    server = web.Server(handle)
    listener = await listen(server, Place(), 1.0)
    async with ClientSession() as http, http.get(listener.page) as answer:
        assert answer.status == 200
    assert seen == [None]
    listener.close()
    await server.shutdown()


async def test_a_path_that_is_too_long_and_one_that_was_taken_over(tmp_path: Path) -> None:
    with pytest.raises(CannotListen, match="cannot listen on"):
        await opened(Place(unix_socket=tmp_path / ("x" * 120)))
    path = tmp_path / "s"
    listener = await opened(Place(unix_socket=path))
    path.unlink()
    path.write_text("another's")
    listener.close()
    assert path.read_text() == "another's"
