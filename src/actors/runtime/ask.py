"""Asks: messages that carry a Reply for their answer (Akka typed's `ask`).

@dataclass
class Count:
    reply: Reply[int]

await ref.ask(Count, timeout=1.0)                       # -> int, says mypy
await ref.ask(lambda reply: Add(2, reply), timeout=1.0)
"""

from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

if TYPE_CHECKING:
    import asyncio

R = TypeVar("R")
M_co = TypeVar("M_co", covariant=True)


class Reply(Generic[R]):
    """The way to answer one ask. The first answer counts; later ones are ignored."""

    __slots__ = ("_future",)

    def __init__(self, future: "asyncio.Future[R]") -> None:
        self._future = future

    @property
    def done(self) -> bool:
        """Return whether the asker has an answer or an error, or no longer waits."""
        return self._future.done()

    def send(self, answer: R) -> None:
        """Answer the ask."""
        if not self._future.done():
            self._future.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Answer with an error, which `ask` raises."""
        if not self._future.done():
            self._future.set_exception(error)


class Question(Generic[R]):
    """A message that is asked: `reply` takes an answer of type R, and `ask` returns that type.

    Most simply a dataclass of its own:

        @dataclass
        class Add(Question[int]):
            text: str

        number = await ref.ask(Add("milk"), timeout=1.0)   # -> int, for every type checker

    The actor answers with `message.reply.send(...)`. Each question is asked once.
    """

    __slots__ = ("reply",)

    reply: Reply[R]

    def asked(self, reply: Reply[R]) -> Self:
        """Take the way back for the answer. Raises ValueError the second time."""
        if hasattr(self, "reply"):
            raise ValueError(f"this question was asked before: {self!r}")
        object.__setattr__(self, "reply", reply)  # a dataclass may be frozen
        return self


class Askable(Protocol[M_co, R]):
    """A question whose actor takes messages of type M: what `ask` infers both types from."""

    def asked(self, reply: Reply[R]) -> M_co:
        """Take the way back for the answer."""


class Asked:
    """An ask in a mailbox: the message with its Reply, so that the runtime can fail it.

    opened: the actor has taken the message.
    """

    __slots__ = ("message", "opened", "reply")

    def __init__(self, message: object, reply: Reply[object]) -> None:
        self.message: object = message
        self.reply: Reply[object] = reply
        self.opened: bool = False
