"""The directives of the backend `echo`: `[[name:argument]]` in a text controls the reply.

    [[repeat:N]]         N tokens              [[ask:permission]]   ask for a permission
    [[delay:MS]]         before each token     [[ask:question]]     ask a question
    [[tool:NAME {…}]]    a call, its result    [[error:CODE]]       end the reply with this code
    [[progress:TEXT]]    output of that tool   [[crash]]            raise in the handler
    [[reasoning:TEXT]]   a reasoning token     [[notice:TEXT]]      a notice
    [[plan:TEXT;TEXT]]   a plan                [[discard:N]]        void the last N tokens
    [[usage:USED/SIZE]]  tokens of a context    [[steer]]           wait for a message (STEER)
    [[stop:REASON]]      end the reply with a StopReason of the contract: MAX_TOKENS, ...

Directives are carried out in the order in which they appear: a delay applies to the tokens and the
progress after it. A tool's result follows the progress that comes next after the call. Everything
else is text, malformed directives included.
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
"""Nesting of a tool's arguments; each level takes three nested messages in protobuf's Struct."""

_OPENING: Final = re.compile(
    r"\[\[(repeat|delay|tool|progress|ask|error|reasoning|plan|usage|notice|discard|crash|steer|stop)"
    r"(?::|(?=\]\]))"
)
_TOOL_NAME: Final = re.compile(r"([\w.-]+)\s*")
_TOOL_END: Final = re.compile(r"\s*\]\]")

_REASONS: Final = {name.removeprefix("STOP_REASON_"): value for name, value in StopReason.items()}
_LONG: Final = frozenset({"tool", "progress", "reasoning", "plan", "notice"})
_LONGEST_ARGUMENT: Final = 64
"""Characters; only the directives in _LONG may have a longer argument."""
_USAGE: Final = re.compile(r"([0-9]{1,18})/([0-9]{1,18})")
_FIRST_PIECE: Final = 256
_LONGEST_WORD: Final = 16
"""Characters; more than any literal or escape has, or what may follow a number's digits."""


@dataclass(frozen=True, slots=True)
class Text:
    """Text to send word by word."""

    text: str

    def words(self) -> Iterator[str]:
        """Yield the words with the whitespace around them; joined, they are the text."""
        for match in re.finditer(r"\s*\S+|\s+$", self.text):
            yield match.group()


@dataclass(frozen=True, slots=True)
class Word:
    """Text to send as one token."""

    text: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """That many numbered tokens."""

    count: int


@dataclass(frozen=True, slots=True)
class Delay:
    """A delay in milliseconds before each token from now on."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool call and its result."""

    name: str
    arguments: dict[str, object]


@dataclass(frozen=True, slots=True)
class Ask:
    """An ask; the reply waits for its answer."""

    kind: Literal["permission", "question"]


@dataclass(frozen=True, slots=True)
class Steer:
    """A wait for a message that is handed to the reply, which then says its text."""


@dataclass(frozen=True, slots=True)
class Error:
    """The end of the reply with an error."""

    code: Code


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A reasoning token."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Output of the tool that was called last."""

    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of these entries, none of which has begun."""

    entries: list[str]


@dataclass(frozen=True, slots=True)
class Usage:
    """How many tokens of the model's context are used."""

    used: int
    size: int


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice. discard: how many of the last tokens it makes void."""

    text: str = ""
    discard: int = 0


@dataclass(frozen=True, slots=True)
class Crash:
    """An unhandled exception in the handler."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The end of the reply, as if the model had stopped for this reason."""

    reason: "StopReason.ValueType"


Event: TypeAlias = Tool | Progress | Ask | Reasoning | Plan | Usage | Notice
"""Steps that are events of their own."""

Step: TypeAlias = Text | Word | Repeat | Delay | Event | Steer | Error | Crash | Stop


def parse(text: str) -> list[Step]:
    """Return the steps of a text, in order. Takes time linear in the length of any text."""
    return _Parser(text).steps()


class _Parser:
    """Parses one text and looks at no part of it more than a few times.

    An opening that turns out not to be a directive must cost no more than its own length, because a
    text may consist of nothing else. Therefore the next `]]` is searched for once and remembered,
    and the JSON decoder gets pieces of doubling size, because its errors count lines from the
    start.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._closing = 0
        """Position of the next `]]` after the last search; negative: there is none."""

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
        if end < 0 or (name not in _LONG and end - start > _LONGEST_ARGUMENT):
            return None
        step = _simple(name, self._text[start:end])
        return None if step is None else (step, end + 2)

    def _close(self, start: int) -> int:
        """Return the position of the first `]]` at or after `start`; negative: there is none."""
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
        """Decode the JSON value at `start`; return it and its end, or None if it is not JSON."""
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
    """Return whether the value may only be incomplete because the piece ends within it."""
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
        case "crash", "":
            return Crash()
        case "steer", "":
            return Steer()
        case "stop", _ if argument in _REASONS:
            return Stop(_REASONS[argument])
        case _:
            return _event(name, argument) if argument else None


def _event(name: str, argument: str) -> Event | None:
    match name:
        case "reasoning":
            return Reasoning(argument)
        case "progress":
            return Progress(argument)
        case "plan":
            return Plan(argument.split(";"))
        case "usage" if (usage := _USAGE.fullmatch(argument)) is not None:
            return Usage(int(usage[1]), int(usage[2]))
        case "notice":
            return Notice(argument)
        case "discard" if argument.isdecimal() and 0 < int(argument) <= MAX_REPEAT:
            return Notice(discard=int(argument))
        case _:
            return None


def _is_deeper(value: object, depth: int) -> bool:
    """Return whether a JSON value is nested deeper than `depth`.

    This goes level by level instead of recursing: the value may be hostile.
    """
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
