"""Assemble tool calls from the pieces of a stream. No I/O.

In the API each piece has the index of its call, and the first piece also has the id and the name.
Servers deviate: they omit the index or send 0 for every call; they send no id, one id for all
calls, or a new id with each piece; they repeat the name in each piece, or send the arguments as an
object. So no single field decides:

1. A piece belongs to the call with its index, unless both have ids and these differ; otherwise to
   the call with its id, else to the call with its index after all, else to the last call.
2. A piece with a name starts a new call instead if that call has another name; if it has another
   id, unless name and index are the same and its arguments have begun; if the piece has an index
   that no call has; or if the piece has arguments and those of the call are complete.
3. A piece without a name starts a new call only if it has an id but no arguments and no call has
   its index or id, or if it has arguments and another id, and the call's arguments are complete.
"""

import json
from collections.abc import Callable, Mapping
from io import StringIO
from typing import Final

from callboard.v1.chat_pb2 import ToolCallEvent
from callboard_service.backends.foreign import as_struct, clean

_MAX_INDEX: Final = 32


class TooManyCalls(Exception):
    """A reply has too many or too large tool calls; the message says which."""


class _Completeness:
    """Tells whether a text that comes in pieces holds a whole JSON object, without parsing it."""

    __slots__ = ("_depth", "_escaped", "_in_string", "complete")

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._escaped = False
        self.complete = False

    def feed(self, piece: str) -> None:
        """Add the next piece."""
        for character in piece:
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_string = False
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                self.complete = self.complete or self._depth == 0


class _Call:
    """One call so far."""

    __slots__ = ("_json", "arguments", "call_id", "index", "name")

    def __init__(self, index: int | str | None) -> None:
        self.index = index
        self.call_id = ""
        self.name = ""
        self.arguments = StringIO()
        self._json = _Completeness()

    @property
    def complete(self) -> bool:
        """Whether the arguments are a whole JSON object."""
        return self._json.complete

    @property
    def begun(self) -> bool:
        """Whether there are any arguments yet."""
        return self.arguments.tell() > 0

    def has_other_id(self, call_id: str) -> bool:
        """Return whether both have an id and these differ."""
        return bool(call_id and self.call_id) and call_id != self.call_id

    def go_on(self, piece: str) -> None:
        """Add a piece of the arguments."""
        self.arguments.write(piece)
        self._json.feed(piece)


class ToolCalls:
    """The calls of one reply. at_most: calls; max_characters: of all ids, names and arguments."""

    def __init__(self, at_most: int, max_characters: int) -> None:
        self._at_most = at_most
        self._left = max_characters
        self._calls: list[_Call] = []

    def add(self, deltas: object) -> bool:
        """Add the `tool_calls` of one chunk; return whether they contain anything new.

        Raises TooManyCalls.
        """
        before = self._left
        for delta in deltas if isinstance(deltas, list) else ():
            if isinstance(delta, dict):
                self._add_one(delta)
        return self._left != before

    def events(self) -> list[ToolCallEvent]:
        """Return the calls in the order in which they began."""
        return [
            ToolCallEvent(
                call_id=clean(call.call_id) or f"call-{number}",
                name=clean(call.name),
                arguments=as_struct(call.arguments.getvalue()),
            )
            for number, call in enumerate(self._calls, start=1)
        ]

    def _add_one(self, delta: Mapping[object, object]) -> None:
        function = delta.get("function")
        function = function if isinstance(function, dict) else {}
        name, piece = _text(function.get("name")), _arguments(function.get("arguments"))
        call_id = _text(delta.get("id"))
        call = self._find(_index(delta.get("index")), call_id, name, piece)
        if call_id and not call.call_id:
            self._charge(call_id)
            call.call_id = call_id
        if name and not call.name:
            self._charge(name)
            call.name = name
        if piece:
            self._charge(piece)
            call.go_on(piece)

    def _find(self, index: int | str | None, call_id: str, name: str, piece: str) -> _Call:
        """Return the call that a piece belongs to, which may be new. Raises TooManyCalls."""
        by_index = self._last(lambda call: index is not None and call.index == index)
        by_id = self._last(lambda call: bool(call_id) and call.call_id == call_id)
        if by_index is not None and not by_index.has_other_id(call_id):
            due: _Call | None = by_index
        else:
            due = by_id or by_index or (self._calls[-1] if self._calls else None)
        if due is None:
            return self._start(index)
        matched = due in (by_index, by_id)
        other_id = due.has_other_id(call_id)
        if name:
            elsewhere = by_index is None and None not in (index, due.index)
            repeats_name = name == due.name and not (other_id and not (by_index and due.begun))
            starts = (due.complete and bool(piece)) or elsewhere
            if not (repeats_name or (not due.name and not other_id)) or starts:
                return self._start(index)
        else:
            announces = bool(call_id) and not piece and not matched
            if announces or (due.complete and other_id and piece.strip()):
                return self._start(index)
        return due

    def _last(self, belongs: Callable[[_Call], bool]) -> _Call | None:
        return next(filter(belongs, reversed(self._calls)), None)

    def _start(self, index: int | str | None) -> _Call:
        if len(self._calls) == self._at_most:
            raise TooManyCalls(f"more than {self._at_most} tool calls")
        call = _Call(index)
        self._calls.append(call)
        return call

    def _charge(self, piece: str) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise TooManyCalls("tool calls that are too long")


def _index(index: object) -> int | str | None:
    """Return the index of a call, or the short text that some servers send in its place."""
    if isinstance(index, str):
        return index[:_MAX_INDEX]
    return index if isinstance(index, int) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _arguments(value: object) -> str:
    """Return a piece of the arguments; an object counts as all of them."""
    return json.dumps(value) if isinstance(value, dict) else _text(value)
