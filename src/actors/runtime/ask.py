"""Questions: a message that carries the way back for its answer (Akka typed's `ask`).

@dataclass
class Count:
    reply: Reply[int]

await ref.ask(Count, timeout=1.0)                       # -> int, says mypy
await ref.ask(lambda reply: Add(2, reply), timeout=1.0)
"""

import asyncio
from typing import Generic, TypeVar

R = TypeVar("R")


class Reply(Generic[R]):
    """Where the answer to one question goes. The first answer counts, later ones are ignored."""

    __slots__ = ("_future",)

    def __init__(self, future: "asyncio.Future[R]") -> None:
        self._future = future

    @property
    def done(self) -> bool:
        """The asker has its answer, an error, or has gone."""
        return self._future.done()

    def send(self, answer: R) -> None:
        """Answer the question."""
        if not self._future.done():
            self._future.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Answer with an error, which `ask` raises."""
        if not self._future.done():
            self._future.set_exception(error)


class Asked:
    """A question in a mailbox, together with its way back, so that the runtime can fail it."""

    __slots__ = ("message", "opened", "reply")

    def __init__(self, message: object, reply: Reply[object]) -> None:
        self.message = message
        self.reply = reply
        self.opened = False
