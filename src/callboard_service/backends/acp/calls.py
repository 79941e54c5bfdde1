"""The tool calls of one turn: each call, its output so far, and its result. No I/O.

`tool_call` and `tool_call_update` are treated alike, because some agents send only one of them, and
so is what a permission says of its call. Ids are those of one turn: agents use them again.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from callboard.v1.chat_pb2 import (
    FileDiff,
    Location,
    ToolCallEvent,
    ToolKind,
    ToolProgressEvent,
    ToolResultEvent,
)
from callboard_service.backends.acp.methods import CREATE, WRITE
from callboard_service.backends.acp.outputs import terminal_output, text_of_content, text_of_raw
from callboard_service.backends.acp.patches import patches_of
from callboard_service.backends.bounds import check_room, cut
from callboard_service.backends.fields import (
    Table,
    as_table,
    as_tables,
    name,
    number,
    raw_text,
    table,
    tables,
    text,
)
from callboard_service.backends.foreign import struct_of

CallEvent: TypeAlias = ToolCallEvent | ToolProgressEvent | ToolResultEvent

MAX_PROGRESS: Final = 64 * 1024
"""Characters of a call's output that are reported while it runs."""

SHOWN_TERMINALS: Final = 16
"""Terminals that one call shows."""

MAX_TITLE: Final = 1000
MAX_LOCATIONS: Final = 100

UNFINISHED: Final = "the agent reported no end of this call"

_KINDS: Final = {
    "read": ToolKind.TOOL_KIND_READ,
    "edit": ToolKind.TOOL_KIND_EDIT,
    "delete": ToolKind.TOOL_KIND_DELETE,
    "move": ToolKind.TOOL_KIND_MOVE,
    "search": ToolKind.TOOL_KIND_SEARCH,
    "execute": ToolKind.TOOL_KIND_EXECUTE,
    "think": ToolKind.TOOL_KIND_THINK,
    "fetch": ToolKind.TOOL_KIND_FETCH,
}
_NOT_MORE: Final = {"command", "description", "is_background", "run_in_background", "timeout"}
"""Arguments of a tool that runs a command, which do not change what it does."""

_PATHS: Final = ("path", "file_path", "filePath")
"""What agents call the path of a file that a tool writes."""

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][\w.:/-]{0,63}")


@dataclass(slots=True)
class Call:
    """One call, as far as the agent has told."""

    call_id: str
    name: str = ""
    title: str = ""
    kind: str = ""
    locations: Sequence[Table] = ()
    given: object = None
    content: Sequence[Table] = ()
    raw_output: object = None
    terminal: str = ""
    terminals: dict[str, str] = field(default_factory=dict)
    """The outputs of the service's terminals that it shows, by their ids."""
    shown: str = ""
    refused: bool = False
    ended: bool = False
    reported: ToolCallEvent = field(default_factory=ToolCallEvent)

    def merge(self, said: Table) -> None:
        """Take what is said of the call; what is missing or empty stays as it was."""
        meta = table(said, "_meta")
        title = text(said, "title")
        named = (
            name(said, "name"),
            name(meta, "toolName"),
            name(table(meta, "claudeCode"), "toolName"),
            self.name,
            # The first title is often the tool's name, a later one what it does.
            title if _IDENTIFIER.fullmatch(title) else "",
        )
        self.name = next(filter(None, named), "")
        self.title = title or self.title
        self.kind = text(said, "kind") or self.kind
        self.locations = tables(said, "locations") or self.locations
        self.given = said.get("rawInput") or self.given
        self.content = as_tables(said.get("content")) or self.content
        self._add_terminals()
        self.raw_output = said.get("rawOutput") or self.raw_output
        if len(self.terminal) < MAX_PROGRESS * 16:
            self.terminal += terminal_output(meta)

    def _add_terminals(self) -> None:
        """Take the terminals in its content. What was shown before the first is no output."""
        for item in self.content:
            if text(item, "type") == "terminal" and len(self.terminals) < SHOWN_TERMINALS:
                self.shown = self.shown if self.terminals else ""
                self.terminals.setdefault(name(item, "terminalId"), "")

    def event(self) -> ToolCallEvent:
        """Return the call as an event."""
        given = self.given
        return ToolCallEvent(
            call_id=self.call_id,
            name=self.name or self.kind or "tool",
            arguments=struct_of(
                given if given is None or isinstance(given, dict) else {"input": given}
            ),
            title=self.title[:MAX_TITLE],
            kind=_KINDS.get(self.kind, ToolKind.TOOL_KIND_UNSPECIFIED),
            locations=_locations(self.locations),
        )

    def changes(self) -> tuple[list[FileDiff], bool]:
        """Return the changes that the call makes, and whether they are all there."""
        return patches_of(item for item in self.content if text(item, "type") == "diff")

    def shows(self) -> list[tuple[str, ...]]:
        """Return what a person sees of it who is asked about it: requests that it may lead to.

        Each is a method and what it is about: the path and the new text of a file, or the line that
        a shell runs. They are in its changes if it has any, and otherwise in what it is given.
        """
        changes = [item for item in self.content if text(item, "type") == "diff"]
        if changes:
            return [(WRITE, raw_text(one, "path"), raw_text(one, "newText")) for one in changes]
        given = as_table(self.given)
        found: list[tuple[str, ...]] = []
        if "content" in given:
            content = raw_text(given, "content")
            found += [(WRITE, raw_text(given, key), content) for key in _PATHS]
        if (line := raw_text(given, "command")) and given.keys() <= _NOT_MORE:
            found.append((CREATE, line))
        return found

    def output(self) -> str:
        """Return the output so far."""
        printed = "\n".join(filter(None, self.terminals.values()))
        return text_of_content(self.content) or printed or self.terminal

    def progress(self) -> list[CallEvent]:
        """Return what the output has gained; nothing of an output that is not continued."""
        output = self.output()
        if not len(self.shown) < len(output) <= MAX_PROGRESS or not output.startswith(self.shown):
            return []
        gained, self.shown = output[len(self.shown) :], output
        return [ToolProgressEvent(call_id=self.call_id, output=gained)]

    def result(self, *, failed: bool, otherwise: str = "") -> ToolResultEvent:
        """End the call, and return its result. otherwise: the output, if there is none."""
        self.ended = True
        output = self.output() or text_of_raw(self.raw_output) or otherwise
        failed = failed or self.refused
        diffs = [] if failed else self.changes()[0]
        return ToolResultEvent(
            call_id=self.call_id, output=cut(output), is_error=failed, diffs=diffs
        )


class Calls:
    """The calls of one turn. printed: see `Turn`."""

    def __init__(self, printed: Callable[[str], str] = lambda terminal_id: "") -> None:
        self._calls: dict[str, Call] = {}
        self._repeated = 0
        self._printed = printed
        self._showing: dict[str, Call] = {}
        """The calls that show terminals, by the ids of these."""

    @property
    def open(self) -> bool:
        """Whether a call that may run has not ended; those in terminals end with the reply."""
        calls = self._calls.values()
        return any(not (call.ended or call.refused or call.terminals) for call in calls)

    def __bool__(self) -> bool:
        return bool(self._calls)

    def upsert(self, said: Table, *, begins: bool) -> list[CallEvent]:
        """Return the events of a `tool_call` (`begins`) or a `tool_call_update`.

        Raises Failure: RESOURCE_EXHAUSTED for too many calls.
        """
        status = text(said, "status")
        call = self._find(said, again=begins and status not in ("completed", "failed"))
        if call is None or call.ended:
            return []
        call.merge(said)
        self._look(call)
        events = self._report(call)
        if status in ("completed", "failed"):
            return [*events, call.result(failed=status == "failed")]
        return events + call.progress()

    def printed(self, terminal_id: str) -> list[CallEvent]:
        """Return the events of a terminal that has printed more."""
        call = self._showing.get(terminal_id)
        if call is None or call.ended:
            return []
        self._look(call)
        return call.progress()

    def _look(self, call: Call) -> None:
        """Take the outputs of the terminals that a call shows; they stay if one is forgotten."""
        for terminal_id in call.terminals:
            self._showing[terminal_id] = call
            call.terminals[terminal_id] = self._printed(terminal_id) or call.terminals[terminal_id]

    def wait(self, said: Table) -> tuple[Call, list[CallEvent]]:
        """Return the call that a permission is about, and the events of what is said of it.

        A call without an id, or one that has ended, counts as a new one.
        """
        call = self._find(said, again=True)
        if call is None:
            call = Call(call_id="")
            call.merge(said)
            return call, []
        told = call.output()
        call.merge(said)
        call.given = call.given or _arguments(told)
        return call, self._report(call)

    def close(self, *, failed: bool) -> list[CallEvent]:
        """End the calls that are open when their turn ends. failed: the turn has failed.

        Otherwise nobody knows whether they have: some agents never tell the end of a call.
        """
        left = [call for call in self._calls.values() if not call.ended]
        return [call.result(failed=failed, otherwise=UNFINISHED) for call in left]

    def _find(self, said: Table, *, again: bool) -> Call | None:
        """Return the call of an id; a new one if there is none, or if it has ended and `again`."""
        key = name(said, "toolCallId")
        if not key:
            return None
        call = self._calls.get(key)
        if call is None:
            check_room(self._calls, "tool calls")
            call = self._calls[key] = Call(key)
        elif call.ended and again:
            self._repeated += 1
            check_room(range(self._repeated), "tool calls")
            call = self._calls[key] = Call(f"{key}.{self._repeated}")
        return call

    def _report(self, call: Call) -> list[CallEvent]:
        """Return the call's event, unless it says nothing new."""
        event = call.event()
        if event == call.reported:
            return []
        call.reported = event
        return [event]


def _arguments(told: str) -> Table:
    """Return the arguments of a call that a permission is about; empty if they are not told.

    told: what was shown of the call. It has not run, so that this is no output: Kimi sends the
    arguments that way, and shortens them in its question.
    """
    try:
        return as_table(json.loads(told))
    except (ValueError, RecursionError):
        return {}


def _locations(said: Sequence[Table]) -> list[Location]:
    return [
        Location(path=path, line=min(number(one, "line"), 2**31))
        for one in said[:MAX_LOCATIONS]
        if (path := text(one, "path"))
    ]
