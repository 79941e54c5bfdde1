"""One incarnation of an actor: its object, and what ends with it.

The cell, the ref and the mailbox outlive it. There is one from the moment that a start is due, even
before the object is made.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from actors.errors import AskFailed
from actors.runtime.actor import Actor
from actors.runtime.ask import Reply
from actors.runtime.supervision import Down

if TYPE_CHECKING:
    from actors.runtime.clock import Clock, Timer

M = TypeVar("M")


class Incarnation(Generic[M]):
    """What a restart makes anew.

    up_since: when it was ready; None: it is not, or `stopped` has run. finished: it ends by itself
    after the message in hand. halting: it ends as on a stop, and another is to follow.
    """

    __slots__ = (
        "actor", "controls", "finished", "halting", "pending", "timers", "up_since", "wake",
        "watching",
    )  # fmt: skip

    def __init__(self) -> None:
        self.actor: Actor[M] | None = None
        self.up_since: float | None = None
        self.finished: bool = False
        self.halting: bool = False
        self.pending: list[Reply[object]] | None = None
        """Those whose question it has taken, answered ones among them."""
        self.controls: deque[Down | BaseException] | None = None
        """What overtakes the messages."""
        self.timers: set[Timer] | None = None
        self.watching: dict[object, Callable[[], None]] | None = None
        """For each actor that it watches, what ends the watch."""
        self.wake: asyncio.Future[None] | None = None
        """Its task waits for a message, or for news of its cell."""

    @property
    def must_look(self) -> bool:
        """Return whether there is something before the next message."""
        return self.finished or self.halting or bool(self.controls)

    def ran_for(self, now: float) -> float:
        """Return the seconds since it was ready; 0 if it did not get there."""
        return 0.0 if self.up_since is None else now - self.up_since

    # -- questions ---------------------------------------------------------------------------

    def add_pending(self, reply: Reply[object]) -> None:
        """Note that this reply's asker waits now, and forget those that do not any more."""
        pending = self.pending
        if pending is None:
            self.pending = [reply]
        else:
            self.pending = [each for each in pending if not each.done]
            self.pending.append(reply)

    def settle_pending(self) -> None:
        """Forget those that do not wait any more."""
        pending = self.pending
        if pending and (len(pending) > 1 or pending[0].done):
            self.pending = [reply for reply in pending if not reply.done] or None

    def fail_pending(
        self, kind: type[AskFailed], message: str, cause: BaseException | None = None
    ) -> None:
        """Raise an error of this kind in all that wait."""
        pending, self.pending = self.pending, None
        for reply in pending or ():
            error = kind(message)
            error.__cause__ = cause
            reply.fail(error)

    # -- controls, watches, timers -----------------------------------------------------------

    def add_control(self, control: Down | BaseException) -> None:
        """Take what overtakes messages."""
        controls = self.controls = self.controls if self.controls is not None else deque()
        if isinstance(control, BaseException):
            # First of all: `take_next` hears of it although it leaves downs where they are.
            controls.appendleft(control)
        else:
            controls.append(control)

    def take_control(self) -> Down | BaseException:
        """Return what overtakes the messages next, which must be there."""
        assert self.controls
        return self.controls.popleft()

    def take_crash(self) -> BaseException | None:
        """Return a crash that came from outside; None: there is none."""
        if self.controls and isinstance(self.controls[0], BaseException):
            return self.controls.popleft()  # type: ignore[return-value]  # as the line before says
        return None

    def add_watch(
        self,
        watch: Callable[[Callable[[Down], None]], Callable[[], None]],
        tell: Callable[[Down], None],
    ) -> Callable[[], None]:
        """Watch another actor; a watch that is over leaves nothing behind.

        watch: the method of its ref. tell: is called with its end. The result ends the watch, and
        takes back what was told and not taken.
        """
        watching = self.watching = self.watching if self.watching is not None else {}
        key = object()
        told: list[Down] = []

        def note(down: Down) -> None:
            watching.pop(key, None)
            told.append(down)
            tell(down)

        def unwatch() -> None:
            end = watching.pop(key, None)
            if end is not None:
                end()
            elif told and self.controls and told[0] in self.controls:
                self.controls.remove(told.pop())

        end = watch(note)
        if not told:
            watching[key] = end
        return unwatch

    def call_later(
        self, clock: "Clock", delay: float, callback: Callable[[], None]
    ) -> Callable[[], None]:
        """Call back later, unless this has ended before; the result takes it back."""
        timers = self.timers = self.timers if self.timers is not None else set()

        def due() -> None:
            timers.discard(timer)
            callback()

        def cancel() -> None:
            timers.discard(timer)
            timer.cancel()

        timer = clock.call_later(delay, due)
        timers.add(timer)
        return cancel

    def end(self) -> None:
        """Let go of everything: it is over."""
        for timer in self.timers or ():
            timer.cancel()
        for unwatch in list((self.watching or {}).values()):
            unwatch()
