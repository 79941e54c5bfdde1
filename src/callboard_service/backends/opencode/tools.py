"""The tool calls of a reply: each call, its output so far, and its result. No I/O."""

from collections.abc import Iterator
from difflib import unified_diff
from typing import Final, TypeAlias

from google.protobuf.struct_pb2 import Struct

from callboard.v1.chat_pb2 import (
    FileDiff,
    Location,
    PlanEntry,
    PlanEvent,
    ToolCallEvent,
    ToolKind,
    ToolProgressEvent,
    ToolResultEvent,
)
from callboard_service.backends.bounds import check_room, cut
from callboard_service.backends.fields import Table, name, number, table, tables, text
from callboard_service.backends.foreign import struct_of

ToolEvent: TypeAlias = ToolCallEvent | ToolProgressEvent | ToolResultEvent | PlanEvent

MAX_PROGRESS: Final = 64 * 1024
"""Characters of a call's output that are reported while it runs; the server shows some 30,000."""

MAX_PLAN: Final = 64 * 1024
"""Characters of a plan; each step counts 64 more."""

MAX_DIFFS: Final = 1024 * 1024
"""Characters of the changes of one call; those beyond are left out."""

_TITLE: Final = 1000
_KINDS: Final = {
    "apply_patch": ToolKind.TOOL_KIND_EDIT,
    "bash": ToolKind.TOOL_KIND_EXECUTE,
    "edit": ToolKind.TOOL_KIND_EDIT,
    "glob": ToolKind.TOOL_KIND_SEARCH,
    "grep": ToolKind.TOOL_KIND_SEARCH,
    "list": ToolKind.TOOL_KIND_SEARCH,
    "read": ToolKind.TOOL_KIND_READ,
    "webfetch": ToolKind.TOOL_KIND_FETCH,
    "websearch": ToolKind.TOOL_KIND_FETCH,
    "write": ToolKind.TOOL_KIND_EDIT,
}
_SUBJECTS: Final = ("description", "filePath", "pattern", "url", "query", "path")
"""Arguments that say what a call is about."""

_STEPS: Final = {
    "pending": PlanEntry.STATUS_PENDING,
    "in_progress": PlanEntry.STATUS_IN_PROGRESS,
    "completed": PlanEntry.STATUS_COMPLETED,
}


class ToolCalls:
    """What has been reported of each call."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._called: dict[str, str] = {}
        """For the id of each part that was reported: the id of its call."""
        self._owners: dict[str, str] = {}
        """For the id of each call: the message that has it."""
        self._ended: set[str] = set()
        self._progress: dict[str, str] = {}

    def call_id(self, message_id: str, call_id: str) -> str:
        """Return the id of a call that is unique in the reply.

        Some models use the same ids again in every step.
        """
        if call_id not in self._owners:
            check_room(self._owners, "tool calls")
            self._owners[call_id] = message_id
        return call_id if self._owners[call_id] == message_id else f"{call_id}.{message_id}"

    def snapshot(self, part: Table) -> list[ToolEvent]:
        """Return the events that a part adds to what has been reported of its call."""
        key, status = name(part, "id"), text(table(part, "state"), "status")
        # Some models reuse call ids in every step, so the part's id is the key.
        if not key or key in self._ended:
            return []
        if (tool := name(part, "tool")) and key not in self._names:
            # A tool that does not exist starts under its own name and becomes "invalid" later.
            check_room(self._names, "tool calls")
            self._names[key] = tool
        if status not in ("running", "completed", "error"):
            return []
        events: list[ToolEvent] = []
        if key not in self._called:
            check_room(self._called, "tool calls")
            self._called[key] = self.call_id(text(part, "messageID"), text(part, "callID"))
            call = call_of(part, self._names.get(key, ""))
            call.call_id = self._called[key]
            events.append(call)
        if status == "running":
            return events + self._output(key, part)
        self._ended.add(key)
        tool = self._names.pop(key, "")
        self._progress.pop(key, None)
        result = result_of(part)
        result.call_id = self._called[key]
        events.append(result)
        if tool == "todowrite" and not result.is_error:
            events.append(_plan(table(table(part, "state"), "input")))
        return events

    def _output(self, key: str, part: Table) -> list[ToolEvent]:
        """Return what a running call has added to its output.

        The server cuts the beginning of a long output off; nothing more is reported of such a call.
        """
        output = text(table(table(part, "state"), "metadata"), "output")
        shown = self._progress.get(key, "")
        if len(output) > MAX_PROGRESS or len(output) <= len(shown) or not output.startswith(shown):
            return []
        self._progress[key] = output
        return [ToolProgressEvent(call_id=self._called[key], output=output[len(shown) :])]


def agent_of(part: Table) -> str:
    """Return the conversation of the agent that a call has started; empty: it has started none."""
    if text(part, "tool") != "task":
        return ""
    child = name(table(table(part, "state"), "metadata"), "sessionId")
    return child if child.startswith("ses_") else ""


def call_of(part: Table, tool: str) -> ToolCallEvent:
    """Return the call described by a part."""
    state = table(part, "state")
    given = state.get("input")
    if tool == "invalid" and isinstance(given, dict):
        tool = text(given, "tool") or tool
    subject = table(state, "input")
    titles = (text(state, "title"), *(text(subject, key) for key in _SUBJECTS))
    return ToolCallEvent(
        call_id=text(part, "callID"),
        name=tool,
        arguments=arguments(given),
        title=next((title[:_TITLE] for title in titles if title), ""),
        kind=_KINDS.get(tool, ToolKind.TOOL_KIND_UNSPECIFIED),
        locations=_locations(subject),
    )


def result_of(part: Table) -> ToolResultEvent:
    """Return the result described by a part."""
    state = table(part, "state")
    failed = text(state, "status") == "error"
    return ToolResultEvent(
        call_id=text(part, "callID"),
        output=cut(text(state, "error") if failed else text(state, "output")),
        is_error=failed or text(part, "tool") == "invalid",
        diffs=[] if failed else _diffs(state, text(part, "tool")),
    )


def arguments(given: object) -> Struct:
    """Return arguments in the contract's form; a value that is no object is wrapped in one."""
    return struct_of(given if given is None or isinstance(given, dict) else {"input": given})


def _locations(given: Table) -> list[Location]:
    path = name(given, "filePath")
    return [Location(path=path, line=min(number(given, "offset"), 2**31))] if path else []


def _diffs(state: Table, tool: str) -> list[FileDiff]:
    """Return the changes that a call has made, as far as OpenCode says what they are."""
    given, metadata = table(state, "input"), table(state, "metadata")
    changes = [(name(given, "filePath"), text(metadata, "diff"))]
    if tool == "apply_patch":
        files = tables(metadata, "files")
        changes = [(name(f, "movePath") or name(f, "filePath"), text(f, "patch")) for f in files]
    elif tool == "write" and metadata.get("exists") is False:
        # OpenCode 1.18.33 tells the content of a new file, not the difference.
        changes = [(name(given, "filePath"), _creation(name(given, "filePath"), given))]
    left, diffs = MAX_DIFFS, list[FileDiff]()
    for path, patch in changes:
        left -= len(path) + len(patch)
        if path and patch and left >= 0:
            diffs.append(FileDiff(path=path, patch=patch))
    return diffs


def _creation(path: str, given: Table) -> str:
    """Return the unified diff that creates a file; empty if it is too long."""
    content = text(given, "content")
    if len(content) > MAX_DIFFS:
        return ""

    def lines() -> Iterator[str]:
        for line in unified_diff([], content.splitlines(keepends=True), "/dev/null", path):
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"

    return "".join(lines())


def _plan(given: Table) -> PlanEvent:
    """Return the plan; steps that were given up are left out, and so is what is too long."""
    plan, left = PlanEvent(), MAX_PLAN
    for step in tables(given, "todos"):
        content, status = text(step, "content"), text(step, "status")
        left -= len(content) + 64
        if left < 0:
            break
        if status != "cancelled":
            plan.entries.add(text=content, status=_STEPS.get(status, PlanEntry.STATUS_UNSPECIFIED))
    return plan
