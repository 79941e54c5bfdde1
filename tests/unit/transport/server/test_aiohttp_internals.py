"""A change of the private names of aiohttp is noticed."""

from collections.abc import Callable

import pytest
from aiohttp import base_protocol, streams, web
from aiohttp._websocket import reader
from aiohttp.base_protocol import BaseProtocol

from transport.server.aiohttp_internals import AVAILABLE, is_as_expected

Change = Callable[[pytest.MonkeyPatch], None]


class OtherQueue(reader.WebSocketDataQueue):
    """A queue that keeps its messages elsewhere."""

    def feed_data(self, data: object, size: int) -> None: ...


class OtherProtocol(BaseProtocol):
    __slots__ = ()


async def _post_start(self: object, request: object, writer: object) -> None: ...


CHANGES: dict[str, Change] = {
    "no reader": lambda patch: patch.delattr(reader, "WebSocketReader"),
    "no queue": lambda patch: patch.delattr(reader, "WebSocketDataQueue"),
    "another queue": lambda patch: patch.setattr(reader, "WebSocketDataQueue", OtherQueue),
    "no end of a stream": lambda patch: patch.delattr(streams, "EofStream"),
    "no base": lambda patch: patch.delattr(base_protocol, "BaseProtocol"),
    "other slots": lambda patch: patch.setattr(base_protocol, "BaseProtocol", OtherProtocol),
    "no drain": lambda patch: patch.delattr(BaseProtocol, "_drain_helper"),
    "another start": lambda patch: patch.setattr(web.WebSocketResponse, "_post_start", _post_start),
    "no start": lambda patch: patch.delattr(web.WebSocketResponse, "_post_start"),
    "no heartbeat": lambda patch: patch.delattr(web.WebSocketResponse, "_reset_heartbeat"),
    "no parser to set": lambda patch: patch.delattr(web.RequestHandler, "set_parser"),
}


def test_this_aiohttp_is_as_expected() -> None:
    assert AVAILABLE
    assert is_as_expected()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_aiohttp_is_noticed(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    with monkeypatch.context() as patch:
        change(patch)
        assert not is_as_expected()
    assert is_as_expected()
