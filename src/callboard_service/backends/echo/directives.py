"""The little language of the backend `echo`: `[[name:argument]]` in a text drives what it does.

    [[repeat:N]]        N tokens              [[ask:permission]]   a permission is asked for
    [[delay:MS]]        before each token     [[ask:question]]     a question is asked
    [[tool:NAME {…}]]   a call, its result    [[error:CODE]]       the reply ends with this code
    [[reasoning:TEXT]]  a reasoning token     [[crash]]            the handler raises
    [[stop:REASON]]     the reply stops here, for a StopReason of the contract: MAX_TOKENS, ...

They are carried out in the order in which they stand: a delay is for the tokens after it. All else
is text, and what is no proper directive is text too.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Final, Literal, TypeAlias

from actors import Code
from callboard.v1.chat_pb2 import StopReason

MAX_REPEAT: Final = 10_000_000
MAX_DELAY_MS: Final = 3_600_000
MAX_DEPTH: Final = 20
"""Of a tool's arguments; protobuf's Struct takes three levels of a message for each."""

_OPENING: Final = re.compile(
    r"\[\[(repeat|delay|tool|ask|error|reasoning|crash|stop)(?::|(?=\]\]))"
)
_TOOL_NAME: Final = re.compile(r"([\w.-]+)\s*")
_TOOL_END: Final = re.compile(r"\s*\]\]")

_REASONS: Final = {name.removeprefix("STOP_REASON_"): value for name, value in StopReason.items()}
_LONGEST_ARGUMENT: Final = 64
"""Characters; a longer argument is proper for `tool` and `reasoning` alone."""
_FIRST_PIECE: Final = 256
_LONGEST_WORD: Final = 16
"""Characters; more than a literal or an escape has, or what may follow a number's digits."""


@dataclass(frozen=True, slots=True)
class Text:
    """To be said word by word."""

    text: str

    def words(self) -> Iterator[str]:
        """The words with the space around them; joined they are the text."""
        for match in re.finditer(r"\s*\S+|\s+$", self.text):
            yield match.group()


@dataclass(frozen=True, slots=True)
class Repeat:
    """So many tokens."""

    count: int


@dataclass(frozen=True, slots=True)
class Delay:
    """From now on so many milliseconds before each token."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool call and its result."""

    name: str
    arguments: dict[str, object]


@dataclass(frozen=True, slots=True)
class Ask:
    """An ask, and the wait for its answer."""

    kind: Literal["permission", "question"]


@dataclass(frozen=True, slots=True)
class Error:
    """The end of the reply."""

    code: Code


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A reasoning token."""

    text: str


@dataclass(frozen=True, slots=True)
class Crash:
    """A fault in the handler."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The end of the reply, as if the model had stopped for this reason."""

    reason: "StopReason.ValueType"


Step: TypeAlias = Text | Repeat | Delay | Tool | Ask | Error | Reasoning | Crash | Stop


def parse(text: str) -> list[Step]:
    """Return the steps of a text, in order. Takes time linear in the text, whatever it is."""
    return _Parser(text).steps()


class _Parser:
    """Parses one text, and looks at no part of it more than a few times.

    An opening that turns out to be no directive must cost no more than its own length: a text may
    consist of nothing else. So the next `]]` is searched for once and remembered, and JSON is given
    to the decoder in pieces that double, because the decoder's errors count lines from the start.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._closing = 0
        """Where the next `]]` is, from the last place searched; negative: there is no other."""

    def steps(self) -> list[Step]:
        """Return all steps."""
        text = self._text
        steps: list[Step] = []
        said = 0
        position = 0
        while (opening := _OPENING.search(text, position)) is not None:
            found = self._directive(opening.group(1), opening.end())
            if found is None:
                position = opening.end()
                continue
            step, end = found
            if opening.start() > said:
                steps.append(Text(text[said : opening.start()]))
            steps.append(step)
            said = position = end
        if said < len(text):
            steps.append(Text(text[said:]))
        return steps

    def _directive(self, name: str, start: int) -> tuple[Step, int] | None:
        if name == "tool":
            return self._tool(start)
        end = self._close(start)
        if end < 0 or (name != "reasoning" and end - start > _LONGEST_ARGUMENT):
            return None
        step = _simple(name, self._text[start:end])
        return None if step is None else (step, end + 2)

    def _close(self, start: int) -> int:
        """Return where the first `]]` from `start` on is; negative: nowhere."""
        if 0 <= self._closing < start:
            self._closing = self._text.find("]]", start)
        return self._closing

    def _tool(self, start: int) -> tuple[Step, int] | None:
        match = _TOOL_NAME.match(self._text, start)
        if match is None:
            return None
        arguments: object = {}
        end = match.end()
        if self._text.startswith("{", end):
            decoded = self._decode(end)
            if decoded is None:
                return None
            arguments, end = decoded
        closing = _TOOL_END.match(self._text, end)
        if closing is None or not isinstance(arguments, dict) or _is_deeper(arguments, MAX_DEPTH):
            return None
        return Tool(match.group(1), arguments), closing.end()

    def _decode(self, start: int) -> tuple[object, int] | None:
        """Decode the JSON value at `start`; return it and where it ends. None: it is not JSON."""
        size = _FIRST_PIECE
        while True:
            piece = self._text[start : start + size]
            try:
                value, length = _JSON.raw_decode(piece)
            except json.JSONDecodeError as error:
                if len(piece) < size or not _is_cut(error, piece):
                    return None
                size *= 2
            except (ValueError, RecursionError):
                return None
            else:
                return value, start + length


def _is_cut(error: json.JSONDecodeError, piece: str) -> bool:
    """Return whether the value may only be incomplete, because the piece ends in the middle."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(piece) - _LONGEST_WORD


def _simple(name: str, argument: str) -> Step | None:
    match name, argument:
        case "repeat", _ if argument.isdecimal() and int(argument) <= MAX_REPEAT:
            return Repeat(int(argument))
        case "delay", _ if argument.isdecimal() and int(argument) <= MAX_DELAY_MS:
            return Delay(int(argument))
        case "ask", "permission" | "question":
            return Ask("permission" if argument == "permission" else "question")
        case "error", _ if argument in Code.__members__:
            return Error(Code[argument])
        case "reasoning", _ if argument:
            return Reasoning(argument)
        case "crash", "":
            return Crash()
        case "stop", _ if argument in _REASONS:
            return Stop(_REASONS[argument])
        case _:
            return None


def _is_deeper(value: object, depth: int) -> bool:
    """A JSON value is nested deeper than this. Looks level by level: the value may be hostile."""
    level = [value]
    for _ in range(depth):
        level = [inner for outer in level for inner in _inside(outer)]
    return bool(level)


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _finite(number: str) -> float:
    value = float(number)
    if not isfinite(value):
        raise ValueError("JSON has no such number")
    return value


_JSON: Final = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
