"""The connection to one agent: its process, our requests, and what the agent sends.

Everything is handed on in the order in which the agent sent it, and at once: the answer to a
request is known before the update that follows it is looked at.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

from actors import Code, Failure
from callboard_service.backends.acp.failures import failure_of
from callboard_service.backends.acp.jsonrpc import (
    METHOD_NOT_FOUND,
    Noise,
    Notification,
    Request,
    RequestId,
    Result,
    Rpc,
    RpcError,
)
from callboard_service.backends.fields import Table
from callboard_service.backends.guarded.pipes import GRACE
from callboard_service.backends.redaction import readable

MAX_KEPT_NOISE: Final = 2000
"""Characters of the newest noise that are kept, for the message about an agent that failed."""


class Process(Protocol):
    """A running agent; see `guarded.process.GuardedProcess`."""

    def write(self, data: bytes) -> None:
        """Send bytes to its standard input; never blocks."""

    async def drained(self) -> None:
        """Wait while much is unsent."""

    async def close(self, *, patience: float, grace: float) -> None:
        """End it, and every process that it left. May be called again, with less patience."""


StartProcess: TypeAlias = Callable[
    [Callable[[bytes], None], Callable[[str], None]], Awaitable[Process]
]
"""Starts an agent; takes what receives its output, and what is told why it ended."""

Answer: TypeAlias = Result | RpcError | Failure
"""What a request came to; a Failure: the agent has ended."""


class Handler(Protocol):
    """What the agent's own messages go to."""

    def requested(self, request: Request) -> bool:
        """Take a request, to be answered later; False: there is no such method."""

    def notified(self, notification: Notification) -> None:
        """Take a notification."""

    def ended(self, failure: Failure) -> None:
        """Take note that the process has ended, after all requests were told."""


class Refused(Exception):
    """The agent answered a request with an error."""

    def __init__(self, error: RpcError) -> None:
        super().__init__(error.message)
        self.error = error

    @property
    def failure(self) -> Failure:
        """The error in the contract's terms."""
        return failure_of(self.error)


class Connection:
    """A connection; of no use before `open`, and after `close` or the end of the process."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._rpc = Rpc()
        self._process: Process | None = None
        self._waiting: dict[int, Callable[[Answer], None]] = {}
        self._noise = ""
        self.lost: Failure | None = None
        """Why the process has ended; None while it runs."""

    async def open(self, start: StartProcess) -> None:
        """Start the process. Raises Failure."""
        self._process = await start(self._received, self._ended)

    def request(self, method: str, params: Table, answered: Callable[[Answer], None]) -> None:
        """Send a request; `answered` is called once, before anything that comes after."""
        if self.lost is not None:
            answered(self.lost)
            return
        request_id, data = self._rpc.request(method, params)
        self._waiting[request_id] = answered
        self._write(data)

    async def call(self, method: str, params: Table, seconds: float) -> Table:
        """Send a request and return its result.

        Raises Refused for an error, Failure if the process ends or takes longer than `seconds`.
        """
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def answered(answer: Answer) -> None:
            if not done.done():
                done.set_result(answer)

        self.request(method, params, answered)
        try:
            async with asyncio.timeout(seconds):
                answer = await done
        except TimeoutError:
            message = f"the agent did not answer {method} within {seconds:.0f} s{self.quoted()}"
            raise Failure(Code.UNAVAILABLE, message, retryable=True) from None
        if isinstance(answer, Failure):
            raise answer.alone()
        if isinstance(answer, RpcError):
            raise Refused(answer)
        return answer.value

    def notify(self, method: str, params: Table) -> None:
        """Send a notification."""
        self._write(self._rpc.notification(method, params))

    def answer(self, request_id: RequestId, value: Table) -> None:
        """Answer a request of the agent."""
        self._write(self._rpc.result(request_id, value))

    def refuse(self, request_id: RequestId, code: int, message: str) -> None:
        """Answer a request of the agent with an error."""
        self._write(self._rpc.refusal(request_id, code, message))

    async def drained(self) -> None:
        """Wait while much of what was sent has not left."""
        if self._process is not None and self.lost is None:
            await self._process.drained()

    async def close(self, *, patience: float, grace: float = GRACE) -> None:
        """End the process; see `GuardedProcess.close`."""
        self._ended("the agent was told to end")
        if self._process is not None:
            await self._process.close(patience=patience, grace=grace)

    def quoted(self) -> str:
        """Return what the agent printed besides messages, to be added to a message; or nothing."""
        said = readable(self._noise, "")
        return f"; it printed: {said}" if said else ""

    def _write(self, data: bytes) -> None:
        if self._process is not None and self.lost is None:
            self._process.write(data)

    def _received(self, data: bytes) -> None:
        for message in self._rpc.receive(data):
            if self.lost is not None:
                return
            match message:
                case Request():
                    if not self._handler.requested(message):
                        self.refuse(message.id, METHOD_NOT_FOUND, "Method not found")
                case Notification():
                    self._handler.notified(message)
                case Result() | RpcError():
                    self._waiting.pop(message.id)(message)
                case Noise(line):
                    self._noise = f"{self._noise}\n{line}"[-MAX_KEPT_NOISE:]

    def _ended(self, reason: str) -> None:
        if self.lost is not None:
            return
        failure = Failure(Code.ABORTED, _ends_of(reason), retryable=True)
        self.lost = failure
        waiting, self._waiting = self._waiting, {}
        for answered in waiting.values():
            answered(failure)
        self._handler.ended(failure)


def _ends_of(reason: str) -> str:
    """Return the first and the last line of a reason: the last one may be the cause."""
    lines = [line for line in reason.splitlines() if len(line.strip()) > 1] or [""]
    first = readable(lines[0], "the agent ended")
    last = readable(lines[-1], "") if len(lines) > 1 else ""
    return f"{first} … {last}" if last else first
