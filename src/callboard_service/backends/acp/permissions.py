"""The permissions that an agent asks for during one turn, and the answers. No I/O.

All options are shown with the names that the agent gives them, because several may be of one kind
and differ in their scope. No option is ever chosen that a person did not choose, but for the one
that refuses once.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from callboard.v1.chat_pb2 import AnswerRequest, AskClosed, AskEvent, AskOption
from callboard_service.backends.acp.calls import Call
from callboard_service.backends.acp.jsonrpc import Request, RequestId
from callboard_service.backends.acp.outputs import text_of_content
from callboard_service.backends.bounds import MAX_OPEN_ASKS, MAX_OPTIONS
from callboard_service.backends.fields import Table, as_table, table, tables, text

CANCELLED: Final[Table] = {"outcome": {"outcome": "cancelled"}}
"""The answer to a permission that nobody granted or refused."""

MAX_SHOWN: Final = 256 * 1024
"""Characters of a title or a detail."""

_KINDS: Final = {
    "allow_once": AskOption.KIND_ALLOW_ONCE,
    "allow_always": AskOption.KIND_ALLOW_ALWAYS,
    "reject_once": AskOption.KIND_REJECT_ONCE,
    "reject_always": AskOption.KIND_REJECT_ALWAYS,
}
_REFUSALS: Final = (AskOption.KIND_REJECT_ONCE, AskOption.KIND_REJECT_ALWAYS)
_ORDER: Final = [
    AskOption.KIND_ALLOW_ONCE,
    AskOption.KIND_ALLOW_ALWAYS,
    AskOption.KIND_UNSPECIFIED,
    AskOption.KIND_REJECT_ONCE,
    AskOption.KIND_REJECT_ALWAYS,
]
"""The order of the options; agents often put the widest one first."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The answer to a request of the agent, and the events for the clients.

    outcome: None: the request stays open, as more is asked. refused: whether it was a permission
    that was not given.
    """

    request_id: RequestId
    outcome: Table | None
    events: Sequence[AskClosed | AskEvent]
    refused: bool = False


@dataclass(frozen=True, slots=True)
class _Open:
    request_id: RequestId
    ask_id: str
    choices: Mapping[str, AskOption.Kind.ValueType]
    call: Call
    shows: Sequence[Sequence[str]]
    """What the service need not ask about again; see `Call.shows`."""


class Permissions:
    """The permissions of one turn. turn_id: makes the ids of its asks unique."""

    def __init__(self, turn_id: str) -> None:
        self._turn_id = turn_id
        self._open: dict[str, _Open] = {}
        self._allowed: list[Sequence[str]] = []
        """What a person has seen and allowed."""
        self._asked = 0

    @property
    def waiting(self) -> bool:
        """Whether any permission is open."""
        return bool(self._open)

    def ask(self, request: Request, call: Call) -> AskEvent | None:
        """Open the ask of a `session/request_permission` about a call, and return its event.

        Returns None if there is nothing to choose from, or no room: then the answer is CANCELLED.
        """
        said = table(request.params, "toolCall")
        title = call.title or call.name or "Permission"
        detail, whole = detail_of(said, call)
        whole = whole and max(len(title), len(detail)) <= MAX_SHOWN
        choices = _choices(tables(request.params, "options"), all_of_them=whole)
        if not choices or len(self._open) >= MAX_OPEN_ASKS:
            return None
        self._asked += 1
        ask_id = f"{self._turn_id}-{self._asked}"
        kinds = {choice.value: choice.kind for choice in choices}
        self._open[ask_id] = _Open(request.id, ask_id, kinds, call, call.shows())
        return AskEvent(
            ask_id=ask_id,
            kind=AskEvent.KIND_PERMISSION,
            call_id=call.call_id,
            title=_cut(title),
            detail=_cut(detail),
            options=[choice.value for choice in choices],
            choices=choices,
        )

    def answer(self, answer: AnswerRequest) -> Settlement | None:
        """Settle a permission as a person chose; None if it is not open.

        Without a choice it is refused once, or cancelled if that is not offered.
        """
        asked = self._open.pop(answer.ask_id, None)
        if asked is None:
            return None
        chosen = answer.answers[0] if len(answer.answers) == 1 else ""
        if chosen not in asked.choices:
            once = AskOption.KIND_REJECT_ONCE
            chosen = next((value for value, kind in asked.choices.items() if kind == once), "")
        refused = not chosen or asked.choices[chosen] in _REFUSALS
        asked.call.refused = asked.call.refused or refused
        self._allowed += () if refused else asked.shows
        closed = AskClosed(ask_id=asked.ask_id, answers=[chosen] if chosen else [], answered=True)
        outcome = {"outcome": {"outcome": "selected", "optionId": chosen}} if chosen else CANCELLED
        return Settlement(asked.request_id, outcome, [closed], refused)

    def has_shown(self, *wanted: object) -> bool:
        """Return whether a person has allowed this (see `Call.shows`); that counts once."""
        for shown in self._allowed:
            if shown == wanted:
                self._allowed.remove(shown)
                return True
        return False

    def withdraw(self, request_id: object) -> list[Settlement]:
        """Close the permission of a request that the agent has withdrawn."""
        gone = [one for one in self._open.values() if one.request_id == request_id]
        return [self._void(one) for one in gone]

    def close(self) -> list[Settlement]:
        """Close what is open when the turn ends or is stopped; nobody allowed these calls."""
        for one in self._open.values():
            one.call.refused = True
        return [self._void(one) for one in list(self._open.values())]

    def _void(self, asked: _Open) -> Settlement:
        del self._open[asked.ask_id]
        closed = AskClosed(ask_id=asked.ask_id)
        return Settlement(asked.request_id, CANCELLED, [closed], refused=True)


def detail_of(said: Table, call: Call) -> tuple[str, bool]:
    """Return what a person should see before deciding, and whether it is all that there is.

    said: the permission's `toolCall`. The changes to files if there are any, otherwise what the
    tool is given.
    """
    diffs, whole = call.changes()
    parts = [text_of_content(tables(said, "content"))]
    parts += [diff.patch for diff in diffs]
    if not diffs:
        parts.append(_given(call.given))
    return "\n".join(filter(None, parts)), whole


def _given(given: object) -> str:
    """Return the arguments of a tool for a person: a sole command as it is."""
    fields = as_table(given)
    if not fields:
        return "" if given is None or given == {} else _json(given)
    if list(fields) == ["command"]:
        return _json(fields["command"])
    return "\n".join(f"{key}: {_json(value)}" for key, value in fields.items())


def _json(value: object) -> str:
    if isinstance(value, str):
        return text({"value": value}, "value")
    try:
        return text({"value": json.dumps(value, ensure_ascii=False)}, "value")
    except (ValueError, RecursionError):
        return "?" * (MAX_SHOWN + 1)  # nobody can approve what cannot be shown


def _choices(options: Sequence[Table], *, all_of_them: bool) -> list[AskOption]:
    """Return the options to choose from, each id once; only refusals unless `all_of_them`."""
    choices: dict[str, AskOption] = {}
    left = MAX_OPTIONS
    for option in options:
        value, named = text(option, "optionId"), text(option, "name")
        kind = _KINDS.get(text(option, "kind"), AskOption.KIND_UNSPECIFIED)
        left -= len(value) + len(named)
        if value and value not in choices and left >= 0 and (all_of_them or kind in _REFUSALS):
            choices[value] = AskOption(value=value, name=named or value, kind=kind)
    return sorted(choices.values(), key=lambda choice: _ORDER.index(choice.kind))


def _cut(shown: str) -> str:
    more = len(shown) - MAX_SHOWN
    return shown if more <= 0 else f"{shown[:MAX_SHOWN]}\n[{more} more characters are not shown]"
