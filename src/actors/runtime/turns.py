"""An actor's turns in the run queue, in which its messages are handled while nothing must wait."""

from abc import abstractmethod
from collections.abc import Awaitable
from typing import Generic, TypeVar

from actors.runtime.mailbox import NOTHING
from actors.runtime.restarting import RestartingCell
from actors.runtime.runqueue import MESSAGES_PER_TURN
from actors.runtime.states import PAUSED, RUNNING, STARTING
from actors.runtime.supervision import Exit, Restart

M = TypeVar("M")


class RunQueueTurns(RestartingCell[M], Generic[M]):
    """What an actor does without a task of its own. The first handler that waits gets one."""

    __slots__ = ()

    @abstractmethod
    def _start_task(
        self,
        hook: Awaitable[None] | None = None,
        error: BaseException | None = None,
        at_most: int = MESSAGES_PER_TURN,
    ) -> None:
        """Have a task go on with `hook` or after `error`, and then with that many messages."""

    def _schedule_now(self) -> None:
        if not self.system.run_queue.run_now(self):
            self._schedule()

    def step(self, at_most: int) -> int:
        """Handle up to `at_most` messages, until one must wait; a task goes on from there."""
        if self._look or self.state is not RUNNING or self._task is not None:
            return self._step_aside()
        mailbox = self.mailbox
        message = mailbox.first
        if message is NOTHING:
            return self._step_through(at_most)
        mailbox.first = NOTHING
        if mailbox.mixed:
            mailbox.mixed = False
            message = self._unwrap(message)
        self.current = message
        assert self.actor is not None
        try:
            hook = self.actor.receive(message)  # type: ignore[arg-type]  # `_unwrap` leaves no Asked
        except BaseException as error:  # noqa: BLE001 - judged there
            if self._goes_on(error):
                self._end_turn()
            return 1
        if hook is not None:
            self._start_task(hook, None, at_most - 1)
        elif self._look or mailbox.queue or self._pending:  # type: ignore[redundant-expr]  # by it
            self._end_turn()
        else:
            self.current = None
            self._busy = False
        return 1

    def _step_through(self, at_most: int) -> int:
        """`step` through a queue."""
        mailbox = self.mailbox
        queue = mailbox.queue
        handled, waiting = 0, min(len(queue), at_most)
        while handled < waiting:
            actor = self.actor
            assert actor is not None
            try:
                for handled in range(handled + 1, waiting + 1):  # noqa: B020 - after a crash
                    self.current = message = queue.popleft()
                    if mailbox.mixed:
                        self.current = message = self._unwrap(message)
                    hook = actor.receive(message)  # type: ignore[arg-type]  # `_unwrap` leaves no Asked
                    if hook is not None:
                        self._start_task(hook, None, at_most - handled)
                        return handled
                    if self._look:
                        waiting = handled
                        break
            except BaseException as error:  # noqa: BLE001 - judged there
                if not self._goes_on(error):
                    return handled
        self._end_turn()
        return max(handled, 1)

    def _step_aside(self) -> int:
        """`step` where there is more to do than to handle messages; or nothing, on an old turn."""
        if self._task is None and self.state < PAUSED:
            self._start_task()
        return 1

    def _goes_on(self, error: BaseException) -> bool:
        """A plain function has raised. Whether the actor is up again, with nothing to look at."""
        if not self._is_crash(error):
            self._end(Exit.CRASHED, error)
            raise error
        failed: BaseException | None = error
        if self._recover_at_once(error):
            if self.state is not STARTING:
                return False
            try:
                if self._make_ready() and not self._look:
                    return True
                failed = None
            except BaseException as raised:  # noqa: BLE001 - the task judges it
                failed = raised
        self._start_task(None, failed)
        return False

    def _end_turn(self) -> None:
        self.current = None
        if self._pending:
            self._settle_pending()
        if self._look:
            if self.finished and self.lifecycle.restart is not Restart.PERMANENT:
                self._begin_stop(Exit.NORMAL)
                if self._ends_at_once and self._exit is not Exit.KILLED:
                    self._end(self._exit)
                    return
            self._start_task()
        elif self.mailbox.queue:
            self.system.run_queue.add(self)
        else:
            self._busy = False
            self.mailbox.rest()

    def put_now(self, message: M) -> None:
        """`put`, and a turn at once where nothing and nobody stands before the message.

        That turn is `step` with nothing in the mailbox, written out: this is in the way of every
        message from a client, and each call on it counts.
        """
        run_queue = self.system.run_queue
        if self._busy or self._look or run_queue.running is not None or self.state is not RUNNING:
            self.put(message)
            return
        self._busy = True
        run_queue.running = self
        self.current = message
        assert self.actor is not None
        try:
            hook = self.actor.receive(message)
        except BaseException as error:  # noqa: BLE001 - judged there
            if self._goes_on(error):
                self._end_turn()
        else:
            if hook is not None:
                self._start_task(hook, None, MESSAGES_PER_TURN - 1)
            elif self._look or self.mailbox.queue or self._pending:  # type: ignore[redundant-expr]  # by it
                self._end_turn()
            else:
                self.current = None
                self._busy = False
        finally:
            run_queue.running = None

    def _settle_pending(self) -> None:
        pending = self._pending
        if pending and (len(pending) > 1 or pending[0].done):
            self._pending = [reply for reply in pending if not reply.done] or None
