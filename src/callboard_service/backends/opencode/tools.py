"""The tool calls of a reply: each call is reported once, and so is its result. No I/O."""

from google.protobuf.struct_pb2 import Struct

from callboard.v1.chat_pb2 import ToolCallEvent, ToolResultEvent
from callboard_service.backends.foreign import struct_of
from callboard_service.backends.opencode.bounds import check_room, cut
from callboard_service.backends.opencode.fields import Table, name, table, text


class ToolCalls:
    """What has been reported of each call."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._called: set[str] = set()
        self._ended: set[str] = set()

    def snapshot(self, part: Table) -> list[ToolCallEvent | ToolResultEvent]:
        """Return the events that a part adds to what has been reported of its call."""
        key, status = name(part, "id"), text(table(part, "state"), "status")
        # Some models reuse call ids in every step, so the part's id is the key.
        if not key or key in self._ended:
            return []
        if (tool := name(part, "tool")) and key not in self._names:
            # A tool that does not exist starts under its own name and becomes "invalid" later.
            check_room(self._names, "tool calls")
            self._names[key] = tool
        events: list[ToolCallEvent | ToolResultEvent] = []
        if status in ("running", "completed", "error") and key not in self._called:
            check_room(self._called, "tool calls")
            self._called.add(key)
            events.append(call_of(part, self._names.get(key, "")))
        if status in ("completed", "error"):
            self._ended.add(key)
            self._names.pop(key, None)
            events.append(result_of(part))
        return events


def call_of(part: Table, tool: str) -> ToolCallEvent:
    """Return the call described by a part."""
    given = table(part, "state").get("input")
    if tool == "invalid" and isinstance(given, dict):
        tool = text(given, "tool") or tool
    return ToolCallEvent(call_id=text(part, "callID"), name=tool, arguments=arguments(given))


def result_of(part: Table) -> ToolResultEvent:
    """Return the result described by a part."""
    state = table(part, "state")
    failed = text(state, "status") == "error"
    return ToolResultEvent(
        call_id=text(part, "callID"),
        output=cut(text(state, "error") if failed else text(state, "output")),
        is_error=failed or text(part, "tool") == "invalid",
    )


def arguments(given: object) -> Struct:
    """Return arguments in the contract's form; a value that is no object is wrapped in one."""
    return struct_of(given if given is None or isinstance(given, dict) else {"input": given})
