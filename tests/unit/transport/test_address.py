"""URLs of services, and how to connect to them."""

from pathlib import Path

import pytest

from transport.address import is_address, route, unix_url


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/ws", "wss://board.example/ws"])
def test_a_tcp_url_is_used_unchanged(url: str) -> None:
    assert route(url) == (None, url)


def test_a_unix_socket_may_have_an_odd_path() -> None:
    path = Path("/run/odd:folder/a b.sock")
    assert unix_url(path) == "ws+unix:/run/odd:folder/a b.sock:/ws"
    assert route(unix_url(path)) == (path, "ws://localhost/ws")


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:1/ws", "wss://[::1]:9/ws", "ws+unix:/run/a.sock:/ws", "ws://host/ws"]
)
def test_an_address(url: str) -> None:
    assert is_address(url)


@pytest.mark.parametrize(
    "url",
    ["", "foo", "ws://", "http://127.0.0.1:1/ws", "ws://host:x/ws", "ws://[::1/ws", "ws://h:0/ws",
     "ws+unix:relative.sock:/ws", "127.0.0.1:8765", "ws://host:99999/ws"],
)  # fmt: skip
def test_no_address(url: str) -> None:
    assert not is_address(url)
