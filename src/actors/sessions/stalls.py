"""The stall timeout: a stream ends if its client leaves it without room for too long.

A handler that holds a scarce resource while it waits (a connection, a slot) opts in with
`ends_if_stalled`. Time counts only while the client is connected and makes no progress: a client
that reads slowly makes progress, and one that is away is bounded by its resume window.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from actors.protocol.answer_stream import AnswerStream
from actors.protocol.close_codes import CloseCode
from actors.protocol.failure import Code, Failure
from actors.protocol.stall_timeout import LOOKS, StallTimeout
from actors.runtime.deadlines import Deadline

if TYPE_CHECKING:
    from actors.sessions.session import SessionActor

STALLED: Final = Failure(
    Code.RESOURCE_EXHAUSTED,
    "the client has read nothing of this reply for too long",
    retryable=True,
)


class Stall:
    """Watches one request while it waits for room; ends it with STALLED after `slow_consumer`.

    It checks eight times in that period. A check that finds progress restarts the count; one that
    finds the client away is not counted. ends: asked from then on whether the request is to end.
    """

    __slots__ = ("_counted", "_deadline", "_ends", "_interval", "_mark", "_session", "_stream")

    def __init__(
        self, session: "SessionActor", stream: AnswerStream, ends: Callable[[], bool]
    ) -> None:
        self._ends = ends
        self._session = session
        self._stream = stream
        self._interval = session.limits.slow_consumer / LOOKS
        self._counted = 0
        self._mark = self._progress()
        self._deadline = session.context.system.deadlines.add(self._interval, self._look)

    def stop(self) -> None:
        """Stop watching: the request has room, or has ended."""
        self._deadline.met()

    def _progress(self) -> tuple[int, int]:
        """Return a mark that changes when the client does what the request's room depends on."""
        stream, replay = self._stream, self._session.machine.output.replay
        if stream.sent >= stream.limit:
            return stream.limit, -1
        return replay.acknowledged, replay.last

    def _look(self) -> None:
        session = self._session
        mark = self._progress()
        if mark != self._mark:
            self._mark, self._counted = mark, 0
        elif session.connection is not None:
            self._counted += 1
        if self._counted >= LOOKS and self._ends():
            session.abort(self._stream.request_id, STALLED)
        else:
            self._deadline = session.context.system.deadlines.add(self._interval, self._look)


class ReaderWatch:
    """Closes the connection of a session whose client acknowledges nothing for too long.

    It starts when the replay buffer is full, and ends when it no longer is or the client is away.
    """

    __slots__ = ("_deadline", "_session", "_timeout")

    def __init__(self, session: "SessionActor") -> None:
        self._session = session
        acknowledged = session.machine.output.replay.acknowledged
        self._timeout = StallTimeout(session.limits.slow_consumer, acknowledged, session.now())
        self._deadline = self._wait()

    def met(self) -> None:
        """Stop watching."""
        self._deadline.met()

    def _wait(self) -> Deadline:
        return self._session.context.system.deadlines.add(self._timeout.interval, self._look)

    def _look(self) -> None:
        session = self._session
        if not session.machine.unacknowledged or session.connection is None:
            session.reader = None
        elif self._timeout.is_over(session.machine.output.replay.acknowledged, session.now()):
            session.close(CloseCode.SLOW_CONSUMER, "nothing has been acknowledged for too long")
        else:
            self._deadline = self._wait()
