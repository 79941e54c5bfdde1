"""Tool calls: what a person sees of them, their ids, and the plan."""

from typing import Any

import pytest

from callboard.v1.chat_pb2 import PlanEntry, PlanEvent, ToolKind, ToolResultEvent
from callboard_service.backends.opencode import tools
from callboard_service.backends.opencode.tools import (
    ToolCalls,
    ToolEvent,
    agent_of,
    call_of,
    result_of,
)


def part(
    part_id: str, tool: str, status: str, message_id: str = "m", **state: Any
) -> dict[str, Any]:
    return {
        "id": part_id,
        "messageID": message_id,
        "callID": "call_1",
        "tool": tool,
        "state": {"status": status, **state},
    }


@pytest.mark.parametrize(
    ("tool", "given", "title", "kind"),
    [
        ("bash", {"command": "ls", "description": "List"}, "List", ToolKind.TOOL_KIND_EXECUTE),
        ("read", {"filePath": "/a", "offset": 7}, "/a", ToolKind.TOOL_KIND_READ),
        ("edit", {"filePath": "/a"}, "/a", ToolKind.TOOL_KIND_EDIT),
        ("grep", {"pattern": "x+", "path": "/b"}, "x+", ToolKind.TOOL_KIND_SEARCH),
        ("webfetch", {"url": "http://h/"}, "http://h/", ToolKind.TOOL_KIND_FETCH),
        ("of_a_plugin", {}, "", ToolKind.TOOL_KIND_UNSPECIFIED),
    ],
)
def test_a_call_says_what_it_is_about(
    tool: str, given: dict[str, Any], title: str, kind: ToolKind.ValueType
) -> None:
    """From its arguments; the server's own title, if there is one, is better."""
    call = call_of(part("p", tool, "running", input=given), tool)
    assert (call.title, call.kind) == (title, kind)
    paths = [(place.path, place.line) for place in call.locations]
    assert paths == ([("/a", given.get("offset", 0))] if "filePath" in given else [])
    own = call_of(part("p", tool, "running", input=given, title="better"), tool)
    assert own.title == "better"


def test_a_change_is_shown_with_its_result() -> None:
    """OpenCode reports the change as a unified diff."""
    state: dict[str, Any] = {
        "input": {"filePath": "/a"},
        "output": "done",
        "metadata": {"diff": "+x"},
    }
    result = result_of(part("p", "edit", "completed", **state))
    assert [(diff.path, diff.patch) for diff in result.diffs] == [("/a", "+x")]
    assert not result_of(part("p", "read", "completed", output="x")).diffs


def test_each_file_of_a_patch_is_shown() -> None:
    """A moved one by its new name; those that are too long are left out."""
    files = [
        {"filePath": "/a", "type": "update", "patch": "+a"},
        {"filePath": "/b", "movePath": "/c", "type": "move", "patch": "+c"},
        {"filePath": "/d", "type": "delete", "patch": "-d"},
        {"filePath": "/none", "patch": ""},
        {"filePath": "/long", "patch": "x" * tools.MAX_DIFFS},
    ]
    metadata = {"files": files, "diff": "all"}
    result = result_of(part("p", "apply_patch", "completed", input={}, metadata=metadata))
    shown = [(diff.path, diff.patch) for diff in result.diffs]
    assert shown == [("/a", "+a"), ("/c", "+c"), ("/d", "-d")]


@pytest.mark.parametrize(
    ("content", "patch"),
    [
        ("one\ntwo\n", "--- /dev/null\n+++ /a\n@@ -0,0 +1,2 @@\n+one\n+two\n"),
        ("one", "--- /dev/null\n+++ /a\n@@ -0,0 +1 @@\n+one\n\\ No newline at end of file\n"),
        ("", ""),
        ("x" * (tools.MAX_DIFFS + 1), ""),
    ],
)
def test_a_new_file_is_a_change(content: str, patch: str) -> None:
    """OpenCode reports no difference for it. One that was overwritten is not known."""
    given = {"filePath": "/a", "content": content}
    written = part("p", "write", "completed", input=given, metadata={"exists": False})
    assert [diff.patch for diff in result_of(written).diffs] == ([patch] if patch else [])
    written["state"]["metadata"] = {"exists": True}
    assert not result_of(written).diffs
    written["state"] |= {"status": "error", "metadata": {"exists": False}}
    assert not result_of(written).diffs


def test_an_agent_s_conversation_is_known_from_the_call_that_started_it() -> None:
    """Other tools start none."""
    for tool, child, found in (
        ("task", "ses_2", "ses_2"),
        ("task", "nothing", ""),
        ("task", None, ""),
        ("of_a_plugin", "ses_2", ""),
    ):
        metadata = {"sessionId": child}
        assert agent_of(part("p", tool, "running", metadata=metadata)) == found


def ids(events: list[ToolEvent]) -> list[str]:
    return [event.call_id for event in events if not isinstance(event, PlanEvent)]


def test_a_call_id_that_comes_again_in_a_later_step_is_made_unique() -> None:
    """Otherwise the second call would replace the first one; asks name the same ids."""
    calls = ToolCalls()
    assert ids(calls.snapshot(part("p1", "read", "completed"))) == ["call_1"] * 2
    assert calls.call_id("m2", "call_1") == "call_1.m2"
    assert ids(calls.snapshot(part("p2", "read", "completed", "m2"))) == ["call_1.m2"] * 2
    assert calls.call_id("m", "call_1") == "call_1"


def test_the_output_of_a_running_call_is_told_up_to_a_limit() -> None:
    """The result has all of it."""
    calls = ToolCalls()
    long = "x" * (tools.MAX_PROGRESS + 1)
    for output, told in (("a", 2), ("a" + long, 0)):
        events = calls.snapshot(part("p", "bash", "running", metadata={"output": output}))
        assert len(events) == told
    (result,) = calls.snapshot(part("p", "bash", "completed", output=long))
    assert isinstance(result, ToolResultEvent)
    assert result.output == long


def test_the_to_do_list_is_the_plan() -> None:
    """Steps that were given up are left out."""
    todos = [
        {"content": "first", "status": "completed"},
        {"content": "second", "status": "in_progress"},
        {"content": "third", "status": "pending"},
        {"content": "never", "status": "cancelled"},
        {"content": "odd", "status": 3},
    ]
    done = part("p", "todowrite", "completed", input={"todos": todos})
    *_, plan = ToolCalls().snapshot(done)
    assert isinstance(plan, PlanEvent)
    assert [(step.text, step.status) for step in plan.entries] == [
        ("first", PlanEntry.STATUS_COMPLETED),
        ("second", PlanEntry.STATUS_IN_PROGRESS),
        ("third", PlanEntry.STATUS_PENDING),
        ("odd", PlanEntry.STATUS_UNSPECIFIED),
    ]
    failed = part("p", "todowrite", "error", input={"todos": todos}, error="no")
    assert not any(isinstance(event, PlanEvent) for event in ToolCalls().snapshot(failed))


def test_a_plan_is_bounded() -> None:
    """What is too long is left out."""
    todos = [{"content": "x" * 1000}] * 1000
    *_, plan = ToolCalls().snapshot(part("p", "todowrite", "completed", input={"todos": todos}))
    assert isinstance(plan, PlanEvent)
    assert 0 < plan.ByteSize() <= tools.MAX_PLAN
