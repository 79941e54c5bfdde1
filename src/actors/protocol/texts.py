"""Answers that are nothing but text, such as the tokens of a reply, without an object for each.

An optimization for `Burst`: encoders take the texts as they are, which costs a third of making
messages and encoding them. Everything else iterates over the messages, which are made on the way.
"""

from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from actors.protocol.frames import Message

Rep_co = TypeVar("Rep_co", bound=Message, covariant=True)


class OfText(Protocol[Rep_co]):
    """A message type with a string field `text`."""

    def __call__(self, *, text: str) -> Rep_co:
        """Return a message with this text."""


class Texts(Generic[Rep_co]):
    """Messages of one type, each with nothing but its field `text`, for `Burst`.

    The sequence must not be changed afterwards.
    """

    __slots__ = ("kind", "texts")

    def __init__(self, kind: OfText[Rep_co], texts: Sequence[str]) -> None:
        self.kind: OfText[Rep_co] = kind
        self.texts: Sequence[str] = texts

    def __iter__(self) -> "TextIterator[Rep_co]":
        return TextIterator(self.kind, self.texts)


class TextIterator(Iterator[Rep_co]):
    """Makes the messages one by one. at: how many were taken; encoders take texts and move it."""

    __slots__ = ("at", "kind", "texts")

    def __init__(self, kind: OfText[Rep_co], texts: Sequence[str]) -> None:
        self.kind: OfText[Rep_co] = kind
        self.texts: Sequence[str] = texts
        self.at: int = 0

    def __next__(self) -> Rep_co:
        if self.at == len(self.texts):
            raise StopIteration
        self.at += 1
        return self.kind(text=self.texts[self.at - 1])
