"""One WebSocket: passes messages to its session as they are parsed, and writes the answers.

No task sits between the socket and the session: what a read brings is handed to the session, and
what the session sends in one turn of the loop goes out in one write at its end. One task per
connection reads what is rare (pings, pongs, the close) and what overflows; a second one exists only
while the peer does not keep up, and to close.

This is built around aiohttp 3.14. Only the writer may wait for the socket, and it must not be
cancelled alone: `send_bytes` and `close` share one waiter. The reader must always be in
`receive()`; otherwise pings go unanswered and a reset unnoticed. aiohttp's `close()` outlives its
own timeout if the peer does not read, so a deadline here aborts the transport. It does not wait for
the peer's close while the reader reads: what the peer still sends then meets a closed socket, which
resets the connection and loses the close code. After an invalid frame it overtakes what was sent
before. So every close is written here, and aiohttp's own does nothing.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from aiohttp import WebSocketError, WSMessage, WSMsgType

from actors.errors import MailboxFull, NotRunning
from actors.protocol.stall_timeout import StallTimeout
from actors.runtime.clock import Clock, Timer
from actors.runtime.deadlines import Deadlines
from actors.runtime.ref import ActorRef
from actors.runtime.supervision import Down, Exit
from actors.sessions.messages import Detach, Outbox, Received, SessionMessage
from transport.codes import NEVER_SENT, CloseCode
from transport.server.dropping import Dropping
from transport.server.feed import AT_ONCE, WebSocket
from transport.server.outgoing import Outgoing
from transport.wire.codec import Wire
from transport.wire.framing import (
    BINARY_ONLY,
    EMPTY_CLOSE,
    PING,
    FramePolicy,
    close_frame,
    pong_frame,
)

if TYPE_CHECKING:
    from transport.wire.calls import Decode

Tell: TypeAlias = Callable[[SessionMessage], None]

WRITE_BUDGET: Final = 32 * 1024
"""Bytes to write before others get a turn."""

LAST_CLOSE_TIMEOUT: Final = 2.5
"""Seconds that clients have to close when the service ends, before they are cut off."""

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that the peer has to take what is left and answer the close, before it is cut off."""


@dataclass(frozen=True, slots=True)
class ConnectionEnvironment:
    """What all connections of a server share.

    heartbeat: seconds between pings. slow: seconds for which a peer may read nothing.
    max_message_bytes: the limit named to a peer that exceeds it.
    """

    clock: Clock
    beats: Deadlines
    outgoing: Outgoing
    heartbeat: float
    slow: float
    policy: FramePolicy = BINARY_ONLY
    max_message_bytes: int = 1024 * 1024


class ServerConnection:
    """The frames of one accepted WebSocket. It has no session at first."""

    def __init__(self, websocket: WebSocket, environment: ConnectionEnvironment) -> None:
        # In the order of use: an instance stores attributes in the order they are first set.
        self.heard: bool = False
        self._closing: tuple[int, str] | None = None
        self._awake = False
        self._environment = environment
        self._decode: Decode | None = None
        self._tell: Tell | None = None
        self._writer: asyncio.Future[None] | None = None
        self._ended = False
        self._websocket = websocket
        self._front: tuple[bytes, ...] = ()
        self._outbox: Outbox | None = None
        self._clock = environment.clock
        self._pong = b""
        self._transport = websocket.transport
        self._policy = environment.policy
        self.close_code: int = CloseCode.ABNORMAL
        self._silent = 0
        self._in_turn = 0
        self._pulse = environment.beats.add(environment.heartbeat, self._beat)
        self._cutoff: Timer | None = None
        self._dropping: Dropping | None = None
        self._stall: Timer | None = None

    # -- reading -----------------------------------------------------------------------------

    async def receive(self) -> bytes | None:
        """Return the next binary message; None if the connection has ended or is about to."""
        while self._closing is None:
            message = await self._next()
            self.heard = True
            match message.type:
                case WSMsgType.BINARY:
                    data: bytes = message.data
                    return data
                case WSMsgType.PING:
                    self._answer_ping(bytes(message.data))
                case WSMsgType.PONG:
                    pass
                case WSMsgType.TEXT if self._policy.text is not None:
                    return self._policy.text(message.data)
                case WSMsgType.TEXT:
                    self.close(CloseCode.UNSUPPORTED_DATA, "binary frames only")
                case WSMsgType.ERROR if isinstance(message.data, WebSocketError):
                    self.close(message.data.code, self._fault(message.data))
                    self._drop()
                case _:
                    self._peer_ended(message)
                    return None
        return None

    async def _next(self) -> WSMessage:
        """Return the next message of any kind, yielding to others after every AT_ONCE messages.

        One read may bring 50,000 messages, and receiving one that is already there does not wait.
        """
        message = await self._websocket.receive()
        self._in_turn += 1
        if self._in_turn == AT_ONCE:
            self._in_turn = 0
            await asyncio.sleep(0)
        return message

    def _answer_ping(self, payload: bytes) -> None:
        """Answer a ping at once; to a peer that does not read, later, and only the last one.

        RFC 6455, section 5.5.3, allows that; it bounds the memory that pings can use.
        """
        if self._websocket.stalled:
            self._pong = pong_frame(payload)
            self.wake()
        else:
            self._write(pong_frame(payload))

    def _fault(self, error: WebSocketError) -> str:
        """Return the close reason for a frame that cannot be read."""
        if error.code == CloseCode.TOO_BIG:
            most = self._environment.max_message_bytes
            return f"a message may have at most {most} bytes (Limits.max_message_bytes)"
        return str(error)

    def _drop(self) -> None:
        """Drop incoming data from now on: frame boundaries are lost."""
        if self._websocket.transport is None or self._transport is None:
            self._ended = True  # the connection was lost before its error was handled
        elif self._dropping is None:
            self._dropping = Dropping(self._transport, self._clock)

    def _peer_ended(self, message: WSMessage) -> None:
        """Handle the peer's close, or the end of the connection."""
        self._ended = True
        if message.type is WSMsgType.CLOSE and self._closing is None:
            code = int(message.data)
            self.close_code = code or CloseCode.NO_CODE
            if code in NEVER_SENT:  # it was sent nevertheless: aiohttp lets 1006 pass
                code = CloseCode.PROTOCOL_ERROR
            self._write(close_frame(code, "") if code else EMPTY_CLOSE)

    async def serve(
        self, wire: Wire, session: ActorRef[SessionMessage], outbox: Outbox, welcome: bytes
    ) -> None:
        """Carry the session that this connection is attached to, until the connection ends.

        Never raises because of what the peer does.
        """
        self._outbox = outbox
        self._front = (welcome,)
        del welcome  # 150 bytes, which this frame would hold until the end
        self._decode, self._tell = wire.decode, session.tell_now
        unwatch = session.watch(self._session_down)
        self.wake()
        try:
            await self._read_in(wire, session)
        except NotRunning:
            pass  # it has ended, and `_session_down` has set the reason
        finally:
            self._websocket.take_no_more()
            unwatch()
            closed_here = self._closing is not None
            try:
                if closed_here:  # what the session has sent goes out before the Detach
                    await self._finish()
            finally:
                with suppress(NotRunning):
                    await session.send(Detach(self, self.close_code, closed_here))
            if not closed_here:
                await self._finish()

    async def _read_in(self, wire: Wire, session: ActorRef[SessionMessage]) -> None:
        """Read what is not taken directly: everything if that is impossible, else the overflow."""
        self._websocket.take_with(self)
        while (data := await self.receive()) is not None:
            received = Received(self, wire.decode(data), len(data))
            try:
                session.tell(received)
            except MailboxFull:
                await session.send(received)

    def take(self, data: bytes) -> None:
        """Hand a message to the session, which handles it at once if it is idle."""
        decode, tell = self._decode, self._tell
        if self._closing is None and decode is not None and tell is not None:
            if not self._awake and self._environment.outgoing.are_many:
                self._environment.outgoing.write()
            try:
                tell(Received(self, decode(data), len(data)))
            except MailboxFull:
                self.close(CloseCode.SLOW_CONSUMER, "the session does not keep up")

    async def refuse(self, code: int, reason: str, *last: bytes) -> None:
        """End a connection that has no session, after sending these last messages."""
        self._front = last
        self.close(code, reason)
        await self._finish()

    async def _finish(self) -> None:
        if self._cutoff is None:  # the peer closed, and may no longer read
            self._cutoff = self._clock.call_later(CLOSE_TIMEOUT, self.abort)
        if self._writer is None and self._closing is not None and not self._ended:
            self._writer = asyncio.ensure_future(self._write_out())
        # Keep reading the peer's frames, to see its answer to the close.
        while not self._ended and self._dropping is None:
            await self._discard_one()
        writer = self._writer
        if writer is not None:
            await writer
        if self._dropping is not None:
            self._cutoff.cancel()
            await self._dropping.end()
        self._ended, self._outbox = True, None  # it has this connection and the session's answers
        self._pulse.met()
        transport = self._transport
        if transport is None or transport.is_closing():  # it has ended already
            self._cutoff.cancel()
            return
        # The server closes the TCP connection first (RFC 6455, section 7.1.1).
        transport.close()
        if not transport.get_write_buffer_size():
            self._cutoff.cancel()

    async def _discard_one(self) -> None:
        message = await self._next()
        if isinstance(message.data, WebSocketError):
            self._drop()
        elif message.type not in (
            WSMsgType.BINARY, WSMsgType.TEXT, WSMsgType.PING, WSMsgType.PONG,
        ):  # fmt: skip
            self._peer_ended(message)

    # -- writing -----------------------------------------------------------------------------

    def wake(self) -> None:
        """Schedule one write, in this turn of the loop, of what the session has to send."""
        if not self._awake:
            self._awake = True
            self._environment.outgoing.add(self)

    def close(self, code: int, reason: str) -> None:
        """Close once everything sent so far has gone out. Only the first call counts."""
        if self._closing is None:
            self._closing = (code, reason)
            self.close_code = code
            self._cutoff = self._clock.call_later(CLOSE_TIMEOUT, self.abort)
            self.wake()

    def abort(self) -> None:
        """Cut the connection off, unless it has ended.

        asyncio's transport raises AttributeError if it is aborted after its end, but only if it had
        bytes left when it was closed (CPython 3.11 to 3.13).
        """
        if self._websocket.transport is not None and self._transport is not None:
            self._transport.abort()

    def flush(self) -> None:
        """Write what was sent in this turn; leave what must wait for the peer to a task."""
        self._awake = False
        if self._writer is not None or self._ended:
            return
        if self._websocket.stalled:
            if self._closing is not None or self._pong or self._has_more():
                self._writer = asyncio.ensure_future(self._write_out())
            return
        outbox = self._outbox
        if self._front or outbox is None:
            messages = self._take()
            if self._has_more():
                self.wake()
        else:
            now = self._clock.now if self._closing is None else None
            messages = outbox.take(WRITE_BUDGET, now)
        if messages or self._pong:
            self._write_messages(messages)
        if self._closing is not None and not self._awake:
            self._writer = asyncio.ensure_future(self._write_out())

    def _has_more(self) -> bool:
        return bool(self._front) or (self._outbox is not None and self._outbox.has_more)

    def _write_messages(self, messages: list[bytes]) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            frames = self._policy.frames(messages)
            transport.write(self._pong + frames if self._pong else frames)
        self._pong = b""

    async def _write_out(self) -> None:
        """Write to a peer that does not keep up until it does, and send the close if one is due."""
        try:
            while not self._ended:
                if self._websocket.stalled:
                    await self._drain()
                messages = self._take()
                if messages or self._pong:
                    self._write_messages(messages)
                    await asyncio.sleep(0)
                elif self._closing is None:
                    return
                else:
                    self._write(close_frame(*self._closing))
                    return
        except ConnectionError:
            self.abort()
        finally:
            if self._closing is None:
                self._writer = None

    def _take(self) -> list[bytes]:
        if self._front:
            messages, self._front = list(self._front), ()
            return messages
        return [] if self._outbox is None else self._outbox.take(WRITE_BUDGET)

    async def _drain(self) -> None:
        """Wait until a slow peer has read enough."""
        self._expect_progress(
            StallTimeout(self._environment.slow, self._gone_out(), self._clock.now())
        )
        try:
            await self._websocket.drain()
        finally:
            if self._stall is not None:
                self._stall.cancel()

    def _expect_progress(self, stall_timeout: StallTimeout) -> None:
        def look() -> None:
            if stall_timeout.is_over(self._gone_out(), self._clock.now()):
                self.close(CloseCode.SLOW_CONSUMER, "nothing has been read for too long")
            else:
                self._expect_progress(stall_timeout)

        self._stall = self._clock.call_later(stall_timeout.interval, look)

    def _gone_out(self) -> int:
        """Return a mark that grows as the system takes bytes, provided that nothing is written."""
        return 0 if self._transport is None else -self._transport.get_write_buffer_size()

    def _write(self, frames: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames)

    # -- timers and the session's end --------------------------------------------------------

    def _beat(self) -> None:
        environment = self._environment
        self._pulse = environment.beats.add(environment.heartbeat, self._beat)
        self._silent = 0 if self.heard else self._silent + 1
        self.heard = False
        if self._silent == 2:
            self.close(CloseCode.HEARTBEAT_LOST, "nothing heard for two heartbeats")
        elif self._closing is None and not self._websocket.stalled:
            # To a peer that does not read, a ping would count as progress and reveal nothing.
            self._write(PING)

    def _session_down(self, down: Down) -> None:
        if down.exit is Exit.CRASHED:
            self.close(CloseCode.SESSION_CRASHED, "the session failed")
        elif self._closing is None:
            self.close(CloseCode.GOING_AWAY, "the session has ended")
