"""Every client sees 1009 for a message over the limit, however much of it is still unsent.

The clients are common libraries and browsers; the tests check what each reports in its own API.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import websocket
from curl_cffi import CurlError
from curl_cffi.requests.websockets import WebSocket as CurlSocket
from curl_cffi.requests.websockets import WebSocketClosed
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.clients.browser import Browser
from tests.e2e.service_process import ROOT, ServiceProcess, running
from tests.security.raw import hello

TIMES = 10
REASON = "a message may have at most 1048576 bytes (Limits.max_message_bytes)"

SIZES = pytest.mark.parametrize("size", [2_100_000, 16_000_000])
"""Bytes: less than the socket buffers of both sides hold, and much more."""

NODE_LIBRARY = sorted(ROOT.glob(".build/ws-*/node_modules/ws"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with running(tmp_path_factory.mktemp("service"), "--backend", "echo") as service:
        yield service


def with_websockets(url: str, first: bytes, size: int) -> tuple[int, str]:
    with connect(url, proxy=None) as socket:
        socket.send(first)
        socket.recv()
        with pytest.raises(ConnectionClosed):
            socket.send(bytes(size))
            socket.recv()
    return int(socket.close_code or 0), socket.close_reason or ""


def with_websocket_client(url: str, first: bytes, size: int) -> tuple[int, str]:
    socket = websocket.create_connection(url)
    try:
        socket.send_binary(first)
        socket.recv()
        socket.send_binary(bytes(size))
        opcode, data = socket.recv_data(control_frame=True)
        assert opcode == websocket.ABNF.OPCODE_CLOSE
        return int.from_bytes(data[:2], "big"), data[2:].decode()
    except ConnectionError as error:
        return 1006, str(error)
    finally:
        if socket.sock is not None:
            socket.sock.close()


def with_libcurl(url: str, first: bytes, size: int) -> tuple[int, str]:
    socket = CurlSocket()
    socket.connect(url)
    try:
        socket.send_binary(first)
        socket.recv()
        try:
            socket.send_binary(bytes(size))
            socket.recv()
        except WebSocketClosed:
            pass
        except CurlError as error:
            return 1006, str(error)
        return socket.close_code or 0, socket.close_reason or ""
    finally:
        socket.terminate()


@SIZES
@pytest.mark.parametrize("client", [with_websockets, with_websocket_client, with_libcurl])
def test_python_clients(
    service: ServiceProcess, client: Callable[[str, bytes, int], tuple[int, str]], size: int
) -> None:
    seen = [client(service.url, hello(service.token), size) for _ in range(TIMES)]
    assert seen == [(1009, REASON)] * TIMES


@SIZES
def test_ws_in_node(service: ServiceProcess, size: int) -> None:
    node = shutil.which("node")
    if node is None or not NODE_LIBRARY:
        assert os.environ.get("CI") != "true", "needs npm: make peers"
        pytest.skip("needs npm: make peers")
    script = str(Path(__file__).with_name("oversized.cjs"))
    first = hello(service.token).hex()
    library = str(NODE_LIBRARY[-1])
    command = [node, script, library, service.url, first, str(size), str(TIMES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    assert json.loads(done.stdout) == [[1009, REASON]] * TIMES


@SIZES
def test_chromium(browser: Browser, tmp_path: Path, size: int) -> None:
    flags = ("--backend", "echo", "--allowed-origins", browser.origin)
    with running(tmp_path, *flags) as service:
        seen = browser.run(
            """
            const once = () => new Promise(resolve => {
              const socket = new WebSocket(given.url);
              socket.onopen = () => socket.send(new Uint8Array(given.hello));
              socket.onmessage = () => socket.send(new Uint8Array(given.size));
              socket.onclose = event => resolve([event.code, event.reason]);
            });
            const seen = [];
            for (let i = 0; i < given.times; i++) seen.push(await once());
            return seen;
            """,
            url=service.url,
            hello=list(hello(service.token)),
            size=size,
            times=TIMES,
        )
    assert seen == [[1009, REASON]] * TIMES
