"""Closes a connection whose peer keeps sending data that can no longer be parsed.

Closing a socket with unread bytes resets the connection, and the reset overtakes what was written
before: the peer sees 1006 instead of the close code. So incoming data is read and dropped until the
peer closes as well (nginx calls this `lingering_close`).
"""

import asyncio
from contextlib import suppress
from typing import Final, cast

from actors.runtime.clock import Clock, Timer

SILENCE: Final = 5.0
"""Seconds without a byte after which the peer is cut off."""

TLS_SILENCE: Final = 1.0
"""The same over TLS, once the close frame is out: without a half-close the peer waits for us."""

LONGEST: Final = 30.0
"""Seconds after which the peer is cut off, whatever it sends."""


class Dropping(asyncio.Protocol):
    """Replaces a connection's protocol and drops all incoming data.

    Data that was written before is still sent. Flow control and the end of the connection are
    passed on to the replaced protocol. Create one only while the connection is open.
    """

    def __init__(self, transport: asyncio.Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._before = cast("asyncio.Protocol", transport.get_protocol())
        self._received = 0
        self._half_closed = False
        self._timer: Timer | None = None
        self._lost = asyncio.get_running_loop().create_future()
        transport.set_protocol(self)
        with suppress(RuntimeError):  # it is already closing
            transport.resume_reading()

    async def end(self) -> None:
        """Send the end of the stream, and wait until the peer has ended the connection.

        Cuts the peer off if it is silent for a while, or takes too long to end. May be cancelled.
        """
        transport = self._transport
        if not transport.is_closing() and transport.can_write_eof():
            with suppress(OSError):  # the connection has ended
                transport.write_eof()
                self._half_closed = True
        self._expect_more(self._clock.now() + LONGEST)
        try:
            await self._lost
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _expect_more(self, until: float) -> None:
        before = self._progress()
        unsent = before[1] > 0

        def look() -> None:
            if self._lost.done():
                return
            if self._progress() != before and self._clock.now() < until:
                self._expect_more(until)
            else:
                self._transport.abort()
                self._end()  # a transport that is already lost never reports its end

        silence = SILENCE if self._half_closed or unsent else TLS_SILENCE
        self._timer = self._clock.call_later(silence, look)

    def _progress(self) -> tuple[int, int]:
        return self._received, self._transport.get_write_buffer_size()

    def _end(self) -> None:
        if not self._lost.done():
            self._lost.set_result(None)

    # -- as the connection's protocol --------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Drop it, but count it as progress."""
        self._received += len(data)

    def pause_writing(self) -> None:
        """Pass it on to the replaced protocol."""
        self._before.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on to the replaced protocol."""
        self._before.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the replaced protocol, and finish `end`."""
        self._before.connection_lost(exc)
        self._end()
