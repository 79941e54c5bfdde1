"""What a stream may yield beside its answers.

A module of its own, for what is compiled of it is nothing: mypyc has no generic dataclasses.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from actors.frames import Message

Rep = TypeVar("Rep", bound=Message)


@dataclass(slots=True)
class Last(Generic[Rep]):
    """The answer that ends the stream; it goes out in the frame with `end`."""

    answer: Rep


@dataclass(slots=True)
class Burst(Generic[Rep]):
    """Answers that are there already: more than one came at once, or none needs to be waited for.

    Pulled one by one like the stream itself, never without room, and without a step of the
    generator for each: several times the answers a CPU second. Others get their turn meanwhile.
    """

    answers: Iterable[Rep]


@dataclass(slots=True)
class Opens(Generic[Rep]):
    """An answer that owes another: `closing` goes out before the end, unless `Closes(key)` came.

    However the request ends (cancel, deadline, crash), what is owed is paid first.
    """

    key: str
    answer: Rep
    closing: Rep


@dataclass(slots=True)
class Closes(Generic[Rep]):
    """The answer that pays what `Opens(key)` owed."""

    key: str
    answer: Rep
