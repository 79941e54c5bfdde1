"""Carries out what the client's state machine decides: one connection after another, and timers."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from actors.runtime.clock import Clock, Timer
from callboard.v1.envelope_pb2 import ServerMessage
from transport.client.calls import ClientCall, Endpoint
from transport.client.effects import (
    AbortConnection,
    Close,
    Connect,
    Deliver,
    Effect,
    Failed,
    Find,
    Over,
    Ready,
    Room,
)
from transport.client.phase import Phase
from transport.client.protocol import ClientProtocol
from transport.client.websocket import CLOSE_TIMEOUT, ClientWebSocket, Dialer
from transport.codes import CloseCode
from transport.errors import ConnectionClosed, NotRunning, TransportError


class Receiver(Protocol):
    """Receives the results of calls."""

    def deliver(self, call: ClientCall, message: ServerMessage) -> None:
        """Take the next answer to a call."""

    def fail(self, call: ClientCall, error: TransportError) -> None:
        """Note that no more answers to the call will come."""

    def room(self, call: ClientCall) -> None:
        """Note that the service takes more inputs of the call."""

    def phase_changed(self) -> None:
        """Note that the connection is in another phase."""


class ClientConnection:
    """Runs until the protocol is over: one task, plus a writer while there is a socket."""

    def __init__(
        self,
        protocol: ClientProtocol,
        find: Callable[[], Endpoint],
        dialer: Dialer,
        clock: Clock,
        receiver: Receiver,
    ) -> None:
        self.not_running: NotRunning | None = None
        self._protocol = protocol
        self._find = find
        self._dialer = dialer
        self._clock = clock
        self._receiver = receiver
        self._step: Find | Connect | None = None
        self._cut: Callable[[], object] | None = None
        self._closing: Close | None = None
        self._changed = asyncio.Event()
        self._output = asyncio.Event()
        self._timer: Timer | None = None
        self._phase = protocol.phase

    def now(self) -> float:
        """Return the time on the given clock."""
        return self._clock.now()

    async def changed(self) -> None:
        """Wait until the phase has changed to OPEN or OVER."""
        self._changed.clear()
        await self._changed.wait()

    async def run(self) -> None:
        """Connect again and again, until the protocol gives up or is closed.

        Undocumented exceptions of the finder or the dialer propagate, after the calls have ended.
        """
        try:
            self.do(self._protocol.start())
            while (step := self._step) is not None:
                self._step = None
                if isinstance(step, Find):
                    self.do(self._protocol.found(self._look(), self.now()))
                else:
                    await self._connect(step)
        finally:
            self.do(self._protocol.close())
            if self._timer is not None:
                self._timer.cancel()
            await self._dialer.close()

    def _look(self) -> Endpoint | None:
        self.not_running = None
        try:
            return self._find()
        except NotRunning as error:
            self.not_running = error
            return None

    # -- one connection ----------------------------------------------------------------------

    async def _connect(self, step: Connect) -> None:
        await self._pause(step.delay)
        if self._protocol.phase is Phase.OVER:
            return
        self.arm()
        dialing = asyncio.ensure_future(self._dialer.dial(step.endpoint.url))
        self._cut = dialing.cancel
        try:
            await asyncio.wait([dialing])
        finally:
            dialing.cancel()
            self._cut = None
        try:
            websocket = await dialing
        except asyncio.CancelledError:
            closed = ConnectionClosed(CloseCode.ABNORMAL, "nothing answered in time")
        except ConnectionClosed as error:
            closed = error
        else:
            closed = await self._carry(websocket)
        self.do(self._protocol.disconnected(closed, self.now()))

    async def _pause(self, delay: float) -> None:
        if delay <= 0:
            return
        passed = asyncio.Event()
        timer = self._clock.call_later(delay, passed.set)
        self._cut = passed.set
        try:
            await passed.wait()
        finally:
            self._cut = None
            timer.cancel()

    async def _carry(self, websocket: ClientWebSocket) -> ConnectionClosed:
        """Read until the connection ends; return how it ended."""
        self._output.clear()
        writer = asyncio.create_task(self._write(websocket), name="callboard client writer")
        self._cut = websocket.abort
        try:
            self.do(self._protocol.connected(self.now()))
            while True:
                data = await websocket.receive()
                if data is None:
                    self._protocol.heard(self.now())
                else:
                    self.do(self._protocol.receive(data, self.now()))
        except ConnectionClosed as closed:
            if self._closing is not None:
                await writer
            return closed
        finally:
            self._cut = None
            websocket.abort()
            writer.cancel()
            await asyncio.wait([writer])

    async def _write(self, websocket: ClientWebSocket) -> None:
        while True:
            await websocket.send(self._protocol.take())
            if self._closing is not None:
                await websocket.close(self._closing.code, self._closing.reason)
                return
            await self._output.wait()
            self._output.clear()

    # -- effects -----------------------------------------------------------------------------

    def do(self, effects: list[Effect]) -> None:
        """Carry out these effects, and send what is to be sent."""
        for effect in effects:
            match effect:
                case Deliver(call, message):
                    self._receiver.deliver(call, message)
                case Failed(call, error):
                    self._receiver.fail(call, error)
                case Room(call):
                    self._receiver.room(call)
                case Find() | Connect():
                    self._step = effect
                    self.arm()
                case AbortConnection():
                    self._cut_off()
                case Close():
                    self._closing = effect
                    self._set_timer(CLOSE_TIMEOUT, self._cut_off)
                case Ready():
                    self._changed.set()
                    self.arm()
                case Over():
                    self._changed.set()
        self.flush()
        if self._phase is not self._protocol.phase:
            self._phase = self._protocol.phase
            self._receiver.phase_changed()

    def leave(self) -> None:
        """Close properly if there is a connection, otherwise stop at once."""
        there = self._protocol.phase in (Phase.OPEN, Phase.GREETING)
        self.do(self._protocol.close())
        if not there:
            self._cut_off()

    def _cut_off(self) -> None:
        if self._cut is not None:
            self._cut()

    def flush(self) -> None:
        """Wake the writer if there is something to send."""
        if self._protocol.has_output or self._closing is not None:
            self._output.set()

    def arm(self) -> None:
        """Set the timer for when the protocol next has something to do."""
        due = self._protocol.due()
        if self._closing is None and due is not None:
            self._set_timer(max(due - self.now(), 0.0), self._tick)

    def _set_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(seconds, callback)

    def _tick(self) -> None:
        self.do(self._protocol.tick(self.now()))
        self.arm()
