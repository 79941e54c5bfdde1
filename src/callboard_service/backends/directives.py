"""The little language of the backend `echo`: `[[name:argument]]` in a text drives what it does.

    [[repeat:N]]        N tokens              [[ask:permission]]   a permission is asked for
    [[delay:MS]]        before each token     [[ask:question]]     a question is asked
    [[tool:NAME {…}]]   a call, its result    [[error:CODE]]       the reply ends with this code
    [[reasoning:TEXT]]  a reasoning token     [[crash]]            the handler raises

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

MAX_REPEAT: Final = 10_000_000
MAX_DELAY_MS: Final = 3_600_000
MAX_DEPTH: Final = 20
"""Of a tool's arguments; protobuf's Struct takes three levels of a message for each."""

_OPENING: Final = re.compile(r"\[\[(repeat|delay|tool|ask|error|reasoning|crash)(?::|(?=\]\]))")


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


Step: TypeAlias = Text | Repeat | Delay | Tool | Ask | Error | Reasoning | Crash


def parse(text: str) -> list[Step]:
    """The steps of a text, in order."""
    steps: list[Step] = []
    said = 0
    position = 0
    while (opening := _OPENING.search(text, position)) is not None:
        found = _directive(opening.group(1), text, opening.end())
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


def _directive(name: str, text: str, start: int) -> tuple[Step, int] | None:
    if name == "tool":
        return _tool(text, start)
    end = text.find("]]", start)
    if end < 0:
        return None
    step = _simple(name, text[start:end])
    return None if step is None else (step, end + 2)


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
        case _:
            return None


def _tool(text: str, start: int) -> tuple[Step, int] | None:
    match = re.compile(r"([\w.-]+)\s*").match(text, start)
    if match is None:
        return None
    arguments: object = {}
    end = match.end()
    if text.startswith("{", end):
        try:
            arguments, end = _JSON.raw_decode(text, end)
        except (ValueError, RecursionError):
            return None
    closing = re.compile(r"\s*\]\]").match(text, end)
    if closing is None or not isinstance(arguments, dict) or _is_deeper(arguments, MAX_DEPTH):
        return None
    return Tool(match.group(1), arguments), closing.end()


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
