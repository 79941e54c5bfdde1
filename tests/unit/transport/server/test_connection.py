"""The frames of a connection, without a socket and on a manual clock."""

import asyncio

import pytest
from aiohttp import WSMessage, WSMsgType

from actors.runtime.deadlines import Deadlines
from actors.testing import ManualClock, settle
from tests.support.written import Written
from transport.codes import CloseCode
from transport.server.connection import CLOSE_TIMEOUT, ConnectionEnvironment, ServerConnection
from transport.server.feed import AT_ONCE, Taker
from transport.server.outgoing import Outgoing
from transport.wire.framing import PING

HEARTBEAT = 1.0


class Silent:
    """A WebSocket whose peer sends nothing."""

    stalled = False

    def __init__(self) -> None:
        self.out = Written()

    @property
    def transport(self) -> asyncio.Transport | None:
        return self.out

    async def drain(self) -> None: ...

    async def receive(self) -> WSMessage:
        await asyncio.Event().wait()
        raise AssertionError

    def take_with(self, taker: Taker) -> None: ...

    def take_no_more(self) -> None: ...


def connection_of(line: Silent, clock: ManualClock) -> ServerConnection:
    environment = ConnectionEnvironment(clock, Deadlines(clock), Outgoing(), HEARTBEAT, slow=60.0)
    return ServerConnection(line, environment)


async def test_a_silent_peer_gets_a_ping_and_a_close_and_nothing_after_it() -> None:
    clock, line = ManualClock(), Silent()
    connection = connection_of(line, clock)
    await clock.advance(HEARTBEAT + 0.1)
    assert line.out.written == [PING]
    for _ in range(3):  # too few to cut the connection off
        await clock.advance(HEARTBEAT + 0.1)
        await settle()
        assert [frame[0] for frame in line.out.written] == [PING[0], 0x88]
    assert connection.close_code == CloseCode.HEARTBEAT_LOST


async def test_a_peer_that_was_heard_in_between_is_not_silent() -> None:
    clock, line = ManualClock(), Silent()
    connection = connection_of(line, clock)
    for _ in range(5):
        await clock.advance(HEARTBEAT + 0.1)
        connection.heard = True
        await clock.advance(HEARTBEAT + 0.1)
    assert line.out.written == [PING] * 10


class Bursting(Silent):
    """A WebSocket whose peer has sent `count` messages in one read."""

    def __init__(self, kind: WSMsgType, count: int) -> None:
        super().__init__()
        self.kind = kind
        self.left = count

    async def receive(self) -> WSMessage:
        if not self.left:
            await super().receive()
        self.left -= 1
        return WSMessage(self.kind, b"", None)


@pytest.mark.parametrize("closing", [False, True])
async def test_others_have_their_turn_in_a_burst_of_pings(closing: bool) -> None:
    line = Bursting(WSMsgType.PING, 10 * AT_ONCE)
    connection = connection_of(line, ManualClock())
    reading = asyncio.ensure_future(
        connection.refuse(CloseCode.BAD_TOKEN, "") if closing else connection.receive()
    )
    seen = []
    while line.left:
        await asyncio.sleep(0)
        seen.append(line.left)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    steps = [before - after for before, after in zip([10 * AT_ONCE, *seen], seen, strict=False)]
    assert max(steps) <= AT_ONCE


class Over(Silent):
    """A WebSocket whose transport raises when it is aborted, as asyncio's can after its end."""

    def __init__(self) -> None:
        super().__init__()
        self.over = False
        self.out.abort = self._fail  # type: ignore[method-assign]

    @property
    def transport(self) -> asyncio.Transport | None:
        return None if self.over else self.out

    def _fail(self) -> None:
        raise AttributeError("'NoneType' object has no attribute 'call_soon'")


async def test_a_connection_that_has_ended_is_not_cut_off() -> None:
    """A transport that was closed with unsent bytes raises in abort() once it has sent them."""
    clock, line = ManualClock(), Over()
    connection = connection_of(line, clock)
    connection.close(CloseCode.GOING_AWAY, "the end")
    line.over = True
    await clock.advance(CLOSE_TIMEOUT)
    connection.abort()
