"""One WebSocket: one task reads, one task writes, a timer listens for the heartbeat.

What was learned about aiohttp 3.14 and is built in here: only the writer waits for the socket, and
it is never cancelled alone (`send_bytes` and `close` share one waiter); the reader is always in
`receive()`, else pings go unanswered and a reset unseen; `close()` towards a peer that does not
read outlives its own timeout, so a deadline here aborts the transport. And `close()` does not wait
for the peer's close while the reader reads: what the peer still sends then meets a closed socket,
which resets the connection and loses the close code; where a frame is none it overtakes what was
said before. So every close is written here, and aiohttp's own does nothing.
"""

import asyncio
from contextlib import suppress
from typing import Final

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web

from actors.clock import Clock, Timer
from actors.errors import MailboxFull, NotRunning
from actors.log import Log
from actors.patience import Patience
from actors.ref import ActorRef, Down
from actors.session_messages import Detach, Outbox, Received, SessionMessage
from actors.supervision import Exit
from transport.codes import NEVER_SENT, CloseCode
from transport.framing import BINARY_ONLY, EMPTY_CLOSE, PING, FramePolicy, close_frame, pong_frame
from transport.wire import Wire

WRITE_BUDGET: Final = 32 * 1024
"""Bytes that the writer sends before other tasks get a turn."""

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that the peer has to take what is left and answer the close; then it is cut off."""


class Socket(web.WebSocketResponse):
    """A WebSocket whose closing handshake is its channel's affair."""

    def __init__(self, max_message_bytes: int) -> None:
        super().__init__(
            compress=False,
            autoping=False,
            autoclose=False,
            max_msg_size=max_message_bytes + 1,  # aiohttp refuses this size too
            writer_limit=0,
        )

    async def close(
        self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True
    ) -> bool:
        """Nothing: aiohttp calls it on errors, and at the end."""
        return False


class Channel:
    """The frames of one WebSocket that has been accepted. No session yet."""

    def __init__(
        self,
        socket: Socket,
        request: web.Request,
        clock: Clock,
        heartbeat: float,
        slow: float,
        log: Log,
        policy: FramePolicy = BINARY_ONLY,
    ) -> None:
        self.log = log
        self.close_code: int = CloseCode.ABNORMAL
        self._socket = socket
        self._protocol = request.protocol
        self._transport = request.transport
        self._stream = request.writer
        self._policy = policy
        self._clock = clock
        self._heartbeat = heartbeat
        self._slow = slow
        self._heard = clock.now()
        self._pulse: Timer | None = clock.call_later(heartbeat, self._beat)
        self._cutoff: Timer | None = None
        self._closing: tuple[int, str] | None = None
        self._awake = asyncio.Event()
        self._ended = False
        self._broken = False
        self._front: list[bytes] = []
        self._pong = b""
        self._outbox: Outbox | None = None
        self._patience: Timer | None = None

    # -- reading -----------------------------------------------------------------------------

    async def receive(self) -> bytes | None:
        """The next binary message; None when the connection has ended or is to end."""
        while self._closing is None:
            message = await self._socket.receive()
            self._heard = self._clock.now()
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
                    self._broken = True
                    self.close(message.data.code, "")
                case _:
                    self._peer_ended(message)
                    return None
        return None

    def _answer_ping(self, payload: bytes) -> None:
        """At once, or, towards a peer that does not read, the last one alone when it does.

        RFC 6455, section 5.5.3, allows that; it bounds what pings can make us hold.
        """
        if self._protocol.writing_paused:
            self._pong = pong_frame(payload)
            self._wake_writer()
        else:
            self._write(pong_frame(payload))

    def _peer_ended(self, message: WSMessage) -> None:
        """The peer's close, or the end of the connection."""
        self._ended = True
        if message.type is WSMsgType.CLOSE and self._closing is None:
            code = int(message.data)
            self.close_code = code or CloseCode.ABNORMAL
            if code in NEVER_SENT:  # and yet it was: aiohttp lets 1006 pass
                code = CloseCode.PROTOCOL_ERROR
            self._write(close_frame(code, "") if code else EMPTY_CLOSE)

    async def serve(
        self, wire: Wire, session: ActorRef[SessionMessage], outbox: Outbox, welcome: bytes
    ) -> None:
        """Carry a session that this channel is attached to, until the connection ends.

        Never raises for what the peer does.
        """
        self._outbox = outbox
        self._front.append(welcome)
        unwatch = session.watch(self._session_down)
        writer = asyncio.create_task(self._write_out())
        self._wake_writer()
        try:
            await self._read_in(wire, session)
        except NotRunning:
            pass  # it has ended meanwhile, and `_session_down` has said why
        finally:
            unwatch()
            closed_here = self._closing is not None
            if closed_here:  # what the session has said goes out before it lets go
                await self._finish(writer)
            with suppress(NotRunning):
                await session.send(Detach(self, self.close_code, closed_here))
            if not closed_here:
                await self._finish(writer)

    async def _read_in(self, wire: Wire, session: ActorRef[SessionMessage]) -> None:
        while (data := await self.receive()) is not None:
            received = Received(self, wire.decode(data), len(data))
            try:
                session.tell(received)
            except MailboxFull:
                await session.send(received)

    async def refuse(self, code: int, reason: str, *last: bytes) -> None:
        """End a connection that has no session, after these last messages."""
        self._front.extend(last)
        self.close(code, reason)
        await self._finish(asyncio.create_task(self._write_out()))

    async def _finish(self, writer: "asyncio.Task[None]") -> None:
        if self._cutoff is None:  # a peer that closed, and reads no more
            self._cutoff = self._clock.call_later(CLOSE_TIMEOUT, self.abort)
        self._wake_writer()
        # The peer's own frames are still read, so that its answer to the close is seen.
        while not self._ended and not self._broken:
            await self._discard_one()
        self._wake_writer()
        await writer
        self._ended = True
        if self._pulse is not None:
            self._pulse.cancel()
        if self._transport is not None:
            # The server ends the connection (RFC 6455, section 7.1.1).
            self._transport.close()
            if not self._transport.get_write_buffer_size():
                self._cutoff.cancel()

    async def _discard_one(self) -> None:
        message = await self._socket.receive()
        if message.type not in (
            WSMsgType.BINARY, WSMsgType.TEXT, WSMsgType.PING, WSMsgType.PONG,
        ):  # fmt: skip
            self._peer_ended(message)

    # -- writing -----------------------------------------------------------------------------

    def wake(self) -> None:
        """The session has something to send: by the end of this loop tick, in one write."""
        self._wake_writer()

    def _wake_writer(self) -> None:
        if not self._awake.is_set():
            self._awake.set()

    def close(self, code: int, reason: str) -> None:
        """Close, when what the session has said so far has gone out. The first word counts."""
        if self._closing is None:
            self._closing = (code, reason)
            self.close_code = code
            self._cutoff = self._clock.call_later(CLOSE_TIMEOUT, self.abort)
            self._wake_writer()

    def abort(self) -> None:
        """Cut the connection off."""
        if self._transport is not None:
            self._transport.abort()

    async def _write_out(self) -> None:
        try:
            while not self._ended:
                await self._awake.wait()
                self._awake.clear()
                await self._flush()
                if self._closing is not None and not self._ended:
                    self._write(close_frame(*self._closing))
                    return
        except ConnectionError:
            self.abort()

    async def _flush(self) -> None:
        while not self._ended:
            if self._protocol.writing_paused:
                await self._drain()
            messages = self._front or self._take()
            self._front = []
            if not messages and not self._pong:
                return
            self._write(self._pong + self._policy.frames(messages))
            self._pong = b""
            await asyncio.sleep(0)

    def _take(self) -> list[bytes]:
        return [] if self._outbox is None else self._outbox.take(WRITE_BUDGET)

    async def _drain(self) -> None:
        """Wait until a peer that reads slowly has read enough."""
        self._expect_progress(Patience(self._slow, self._gone_out(), self._clock.now()))
        try:
            await self._stream.drain()
        finally:
            if self._patience is not None:
                self._patience.cancel()

    def _expect_progress(self, patience: Patience) -> None:
        def look() -> None:
            if patience.is_over(self._gone_out(), self._clock.now()):
                self.close(CloseCode.SLOW_CONSUMER, "nothing has been read for too long")
            else:
                self._expect_progress(patience)

        self._patience = self._clock.call_later(patience.interval, look)

    def _gone_out(self) -> int:
        """Grows with what the system takes from the transport's buffer while we wait for that."""
        return 0 if self._transport is None else -self._transport.get_write_buffer_size()

    def _write(self, frames: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames)

    # -- timers and the session's end --------------------------------------------------------

    def _beat(self) -> None:
        self._pulse = self._clock.call_later(self._heartbeat, self._beat)
        if self._clock.now() - self._heard >= 2 * self._heartbeat:
            self.close(CloseCode.HEARTBEAT_LOST, "nothing heard for two heartbeats")
        elif not self._protocol.writing_paused:  # else it would pass for progress, and tell nothing
            self._write(PING)

    def _session_down(self, down: Down) -> None:
        if down.exit is Exit.CRASHED:
            self.close(CloseCode.SESSION_CRASHED, "the session failed")
        elif self._closing is None:
            self.close(CloseCode.GOING_AWAY, "the session has ended")
