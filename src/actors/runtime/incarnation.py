"""One incarnation of an actor: its object, and everything that ends with it.

The cell, the ref and the mailbox outlive it. A cell always has an incarnation, even before its
actor object is made.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from actors.errors import AskFailed
from actors.runtime.ask import Reply
from actors.runtime.supervision import Down

if TYPE_CHECKING:
    import asyncio

    from actors.runtime.actor import Actor
    from actors.runtime.clock import Clock, Timer

M = TypeVar("M")


class Incarnation(Generic[M]):
    """The state that a restart replaces.

    up_since: when it became ready; None if it is not, or once its cleanup has begun. finished: it
    ends by itself after the current message. halting: it ends as on a stop, to be followed by
    another incarnation.
    """

    __slots__ = (
        "actor", "controls", "finished", "halting", "holds", "pending", "timers", "up_since",
        "wake", "watching",
    )  # fmt: skip

    def __init__(self) -> None:
        self.actor: Actor[M] | None = None
        self.up_since: float | None = None
        self.finished: bool = False
        self.halting: bool = False
        self.holds: int = 0
        """How many callers of `hold` have not released it."""
        self.pending: list[Reply[object]] | None = None
        """Replies to the asks that it has taken; some may be answered already."""
        self.controls: deque[Down | BaseException] | None = None
        """What is handled before the messages."""
        self.timers: set[Timer] | None = None
        self.watching: dict[object, Callable[[], None]] | None = None
        """For each watch, the function that ends it."""
        self.wake: asyncio.Future[None] | None = None
        """Set while its task waits for a message or a change of state; resolved to wake it."""

    @property
    def must_look(self) -> bool:
        """Return whether something must be handled before the next message."""
        return self.finished or self.halting or bool(self.controls)

    @property
    def in_use(self) -> bool:
        """Return whether it has a hold, a timer or an ask without an answer."""
        if self.holds or self.timers:
            return True
        return any(not reply.done for reply in self.pending or ())

    def ran_for(self, now: float) -> float:
        """Return the seconds since it became ready; 0 if it did not."""
        return 0.0 if self.up_since is None else now - self.up_since

    # -- asks --------------------------------------------------------------------------------

    def add_pending(self, reply: Reply[object]) -> None:
        """Add the reply of an ask that was taken, and forget those that are done."""
        pending = self.pending
        if pending is None:
            self.pending = [reply]
        else:
            self.pending = [each for each in pending if not each.done]
            self.pending.append(reply)

    def settle_pending(self) -> None:
        """Forget the replies that are done."""
        pending = self.pending
        if pending and (len(pending) > 1 or pending[0].done):
            self.pending = [reply for reply in pending if not reply.done] or None

    def fail_pending(
        self, kind: type[AskFailed], message: str, cause: BaseException | None = None
    ) -> None:
        """Fail all pending asks with an error of this kind."""
        pending, self.pending = self.pending, None
        for reply in pending or ():
            error = kind(message)
            error.__cause__ = cause
            reply.fail(error)

    def refuse_pending(self, refusal: Exception) -> None:
        """Answer all pending asks with this error."""
        pending, self.pending = self.pending, None
        for reply in pending or ():
            reply.fail(refusal)

    # -- holds -------------------------------------------------------------------------------

    def hold(self) -> Callable[[], None]:
        """Count a hold; return a function that releases it, once however often it is called."""
        held = True
        self.holds += 1

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self.holds -= 1

        return release

    # -- controls, watches, timers -----------------------------------------------------------

    def add_control(self, control: Down | BaseException) -> None:
        """Queue a control, to be handled before messages."""
        controls = self.controls = self.controls if self.controls is not None else deque()
        if isinstance(control, BaseException):
            # At the front, where `take_next` looks for it; downs stay in the queue.
            controls.appendleft(control)
        else:
            controls.append(control)

    def take_control(self) -> Down | BaseException:
        """Remove and return the next control. Call only while there is one."""
        assert self.controls
        return self.controls.popleft()

    def take_crash(self) -> BaseException | None:
        """Remove and return a crash from outside, or return None."""
        if self.controls and isinstance(self.controls[0], BaseException):
            return self.controls.popleft()  # type: ignore[return-value]  # the line above checks its type
        return None

    def add_watch(
        self,
        watch: Callable[[Callable[[Down], None]], Callable[[], None]],
        tell: Callable[[Down], None],
    ) -> Callable[[], None]:
        """Watch another actor; return a function that ends the watch.

        watch: the `watch` method of its ref. tell: called with its Down. Ending the watch also
        removes a Down that is queued as a control but has not been taken.
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
        """Call `callback` in `delay` seconds, unless this ends first; return what cancels it."""
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

    def at_end(self, callback: Callable[[], None]) -> None:
        """Call `callback` when this ends. It is kept, and called, like the end of a watch."""
        watching = self.watching = self.watching if self.watching is not None else {}
        watching[object()] = callback

    def end(self) -> None:
        """Cancel all timers, end all watches and call the callbacks of `at_end`."""
        for timer in self.timers or ():
            timer.cancel()
        for unwatch in list((self.watching or {}).values()):
            unwatch()
