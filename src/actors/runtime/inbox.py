"""The receiving side of an actor: its mailbox, its controls, its timers, and how it is woken.

Controls (a watched actor's end, a crash that comes from outside) overtake messages and are never
refused. All of it runs on one event loop; nothing here locks.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Never, TypeVar, cast

from actors.errors import AskDropped, AskFailed, MailboxFull, NotRunning
from actors.runtime.ask import Asked, Reply
from actors.runtime.cycles import Waiting, asker_of, find_cycle
from actors.runtime.eager import EAGER
from actors.runtime.events import DeadLetter
from actors.runtime.mailbox import Mailbox, Overflow
from actors.runtime.ref import ActorRef, Down
from actors.runtime.states import STARTING, STOPPING
from actors.runtime.supervision import Lifecycle

if TYPE_CHECKING:
    from actors.runtime.cell import Cell
    from actors.runtime.children import Children
    from actors.runtime.clock import Timer
    from actors.runtime.system import ActorSystem

M = TypeVar("M")
N = TypeVar("N")
R = TypeVar("R")


class WaitEnded(asyncio.CancelledError):
    """A stop has ended `context.next()`: nothing will come any more."""


class Private:
    """What belongs to one incarnation and ends with it: its timers, its watches, its controls."""

    __slots__ = ("controls", "timers", "watching")

    def __init__(self) -> None:
        self.controls: deque[Down | BaseException] | None = None
        self.timers: set[Timer] | None = None
        self.watching: dict[object, Callable[[], None]] | None = None

    def drop(self) -> None:
        """The incarnation is over."""
        for timer in self.timers or ():
            timer.cancel()
        for unwatch in list((self.watching or {}).values()):
            unwatch()


class ReceivingCell(ABC, Generic[M]):
    """What reaches an actor, and in what order."""

    __slots__ = (
        "_busy",
        "_look",
        "_pending",
        "_private",
        "_task",
        "_wake",
        "halting",
        "lifecycle",
        "mailbox",
        "name",
        "siblings",
        "state",
        "system",
    )

    def __init__(
        self,
        system: "ActorSystem",
        siblings: "Children | None",
        name: str,
        lifecycle: Lifecycle,
    ) -> None:
        self.system = system
        self.siblings = siblings
        """The children that the actor is a child of; the root is in none."""
        self.name = name
        self.lifecycle = lifecycle
        self.state = STARTING
        self.mailbox: Mailbox[M | Asked] = Mailbox(lifecycle.capacity, lifecycle.overflow)
        self._task: asyncio.Task[None] | None = None
        # Somebody will look into the mailbox: the run queue, a task, or a timer that restarts.
        self._busy = False
        # Before the next message there is something else: a control, a stop, the end.
        self._look = False
        # This incarnation ends, as on a stop, and another is to follow.
        self.halting = False
        self._private: Private | None = None
        self._wake: asyncio.Future[None] | None = None
        self._pending: list[Reply[object]] | None = None

    @property
    def parent(self) -> "Cell[object] | None":
        """Who looks after the actor; None: it is the root."""
        return None if self.siblings is None else self.siblings.parent

    @property
    def path(self) -> str:
        """The names from the root, joined by `/`."""
        siblings = self.siblings
        return self.name if siblings is None else f"{siblings.parent.path}/{self.name}"

    @property
    def alive(self) -> bool:
        """The actor takes messages."""
        return self.state < STOPPING

    # -- messages ----------------------------------------------------------------------------

    def put(self, message: M) -> None:
        """Take a message that nobody waits for."""
        if not self._busy:
            self._busy = True
            self.mailbox.first = message
            if EAGER:
                run_queue = self.system.run_queue  # RunQueue.add, without the calls
                run_queue.ready.append(self)
                if not run_queue.scheduled:
                    run_queue.schedule()
            else:
                self._schedule()
        elif self.state >= STOPPING:
            self._discard(message)
        else:
            self._offer(message, message)
            self._notify()

    async def put_waiting(self, message: M) -> None:
        """Take a message whose sender waits for room."""
        if self.state >= STOPPING:
            raise NotRunning(self.path, message)
        if not (self.mailbox.full and self.mailbox.overflow is Overflow.WAIT):
            self.put(message)
            return
        sender = asker_of(self.system)
        if sender is None:
            await self.mailbox.wait(message)
            return
        this = cast("Cell[Never]", self)
        if find_cycle(sender, this) is not None:
            raise MailboxFull(self.path, message)
        waiting = self.system.waiting
        waiting[sender] = Waiting(this, None)
        try:
            await self.mailbox.wait(message)
        finally:
            del waiting[sender]

    def put_question(self, message: M, reply: Reply[R]) -> Asked:
        """Take a question; where the policy is WAIT it stands in line for room."""
        if self.state >= STOPPING:
            raise NotRunning(self.path, message)
        asked = Asked(message, cast(Reply[object], reply))
        mailbox = self.mailbox
        mailbox.mixed = True
        if not self._busy:
            self._busy = True
            mailbox.first = asked
            self._schedule_now()
        elif len(mailbox.queue) < mailbox.room:
            mailbox.queue.append(asked)
        else:
            if mailbox.full and mailbox.overflow is Overflow.WAIT:
                mailbox.queue_up(asked, None)
            else:
                self._offer(asked, message)
            self._notify()
        return asked

    def withdraw(self, asked: Asked) -> None:
        """Take a question back that still stands in line."""
        if self.mailbox.line:
            self.mailbox.withdraw(asked)

    def _offer(self, item: M | Asked, message: M) -> None:
        try:
            displaced = self.mailbox.offer(item)
        except asyncio.QueueFull:
            raise MailboxFull(self.path, message) from None
        if displaced is not None:
            self._discard(displaced)

    def _discard(self, item: M | Asked) -> None:
        if isinstance(item, Asked):
            item.reply.fail(AskDropped(f"{self.path}: the question was dropped"))
        self.system.dead_letters += 1
        if self.system.observed:
            message = item.message if isinstance(item, Asked) else item
            self.system.report(DeadLetter(self.path, type(message).__name__))

    def _take(self) -> M:
        self._look = True  # who counts on what was in the queue
        self.mailbox.unfold()
        return self._unwrap(self.mailbox.queue.popleft())

    def _unwrap(self, item: M | Asked) -> M:
        """The message in what has been taken out of the queue; its room goes to who stands in line.

        The asker of a question now waits for this actor.
        """
        mailbox = self.mailbox
        if mailbox.line:
            mailbox.admit(mailbox.line)
        if not isinstance(item, Asked):
            return item
        pending = self._pending
        if pending is None:
            self._pending = [item.reply]
        else:
            self._pending = [reply for reply in pending if not reply.done]
            self._pending.append(item.reply)
        item.opened = True
        return cast(M, item.message)

    def _close_mailbox(self) -> None:
        for item in self.mailbox.close(lambda item: NotRunning(self.path, item)):
            self._discard(item)

    def _fail_pending(
        self, kind: type[AskFailed], what: str, cause: BaseException | None = None
    ) -> None:
        pending, self._pending = self._pending, None
        for reply in pending or ():
            error = kind(f"{self.path}: {what}")
            error.__cause__ = cause
            reply.fail(error)

    # -- controls, watches, timers -----------------------------------------------------------

    def push_control(self, control: Down | BaseException) -> None:
        """Take what overtakes messages and is never refused: a down, or a crash from outside."""
        if self.state >= STOPPING:
            return
        own = self._own
        controls = own.controls = own.controls if own.controls is not None else deque()
        if isinstance(control, BaseException):
            # First of all: `take_next` hears of it although it leaves downs where they are.
            controls.appendleft(control)
        else:
            controls.append(control)
        self._look = True
        self._notify()

    def watch_other(self, ref: ActorRef[N]) -> Callable[[], None]:
        """Get that actor's end as a control. A watch that is over leaves nothing behind."""
        own = self._own
        watching = own.watching = own.watching if own.watching is not None else {}
        key = object()
        told: list[Down] = []

        def tell(down: Down) -> None:
            watching.pop(key, None)
            told.append(down)
            self.push_control(down)

        def unwatch() -> None:
            end = watching.pop(key, None)
            if end is not None:
                end()
            elif told and own.controls and told[0] in own.controls:
                own.controls.remove(told.pop())

        end = ref.watch(tell)
        if not told:
            watching[key] = end
        return unwatch

    @property
    def _own(self) -> Private:
        if self._private is None:
            self._private = Private()
        return self._private

    @property
    def _control(self) -> Down | BaseException | None:
        """What overtakes the messages next."""
        own = self._private
        return own.controls[0] if own is not None and own.controls else None

    def _take_control(self) -> Down | BaseException:
        controls = self._own.controls
        assert controls
        return controls.popleft()

    def tell_after(self, delay: float, message: M) -> Callable[[], None]:
        """Put a message into the own mailbox later, unless this incarnation ends before."""
        own = self._own
        timers = own.timers = own.timers if own.timers is not None else set()

        def due() -> None:
            timers.discard(timer)
            try:
                self.put(message)
            except MailboxFull:  # nobody is there to hear of it
                self._discard(message)

        def cancel() -> None:
            timers.discard(timer)
            timer.cancel()

        timer = self.system.clock.call_later(delay, due)
        timers.add(timer)
        return cancel

    # -- waking and waiting ------------------------------------------------------------------

    @abstractmethod
    def step(self, at_most: int) -> int:
        """Handle up to `at_most` messages, on the actor's turn in the run queue."""

    @abstractmethod
    def _schedule(self) -> None:
        """Have the actor work: nobody does so far."""

    @abstractmethod
    def _schedule_now(self) -> None:
        """The same, at once if that is possible: somebody waits for what comes of it."""

    def _notify(self) -> None:
        if not self._busy:
            self._busy = True
            self._schedule()
        elif self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _sleep(self) -> None:
        """Wait, inside the task, until something arrives or the state changes."""
        self._wake = asyncio.get_running_loop().create_future()
        self.mailbox.room = 0  # whoever puts something in must wake this task
        try:
            await self._wake
        finally:
            self._wake = None

    async def take_next(self) -> M:
        """The next message, for a hook that waits for it.

        A crash from outside and a stop end the wait.
        """
        while True:
            if isinstance(self._control, BaseException):
                raise cast(BaseException, self._take_control())
            if self.mailbox:
                return self._take()
            if self.state >= STOPPING or self.halting:
                await asyncio.sleep(0)  # a hook that asks again and again does not hold the loop
                raise WaitEnded
            await self._sleep()
