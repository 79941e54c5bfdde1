"""URLs of services, and what connects to them."""

from pathlib import Path

from aiohttp import UnixConnector

from transport.address import dial, unix_url


async def test_a_url_of_a_port_is_asked_for_as_it_is() -> None:
    for url in ("ws://127.0.0.1:1/ws", "wss://board.example/ws"):
        connector, asked = dial(url)
        assert asked == url
        assert not isinstance(connector, UnixConnector)
        await connector.close()


async def test_a_unix_socket_has_a_path_even_an_odd_one() -> None:
    path = Path("/run/odd:folder/a b.sock")
    assert unix_url(path) == "ws+unix:/run/odd:folder/a b.sock:/ws"
    connector, asked = dial(unix_url(path))
    assert isinstance(connector, UnixConnector)
    assert (connector.path, asked) == (str(path), "ws://localhost/ws")
    await connector.close()
