"""Plans, usage, notices, diffs and output as an agent reports them, also at their limits."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import Code, Failure
from callboard.v1.chat_pb2 import (
    ChatNotice,
    ChatToken,
    PlanEntry,
    PlanEvent,
    ReasoningToken,
    UsageEvent,
)
from callboard_service.backends.acp.outputs import text_of_raw
from callboard_service.backends.acp.patches import MAX_COMPARED, MAX_DIFFS, patch_of, patches_of
from callboard_service.backends.acp.updates import COMPACTING, MAX_PLAN, Updates
from callboard_service.backends.bounds import MAX_REPLY_BYTES


def take(kind: str, **more: Any) -> list[Any]:
    return Updates().take({"sessionUpdate": kind, **more})


def chunk(kind: str, **block: Any) -> dict[str, Any]:
    return {"sessionUpdate": f"agent_{kind}_chunk", "content": block}


def test_a_plan_replaces_the_last_one_and_is_bounded() -> None:
    done = {"content": "a", "status": "completed", "priority": "high"}
    assert take("plan", entries=[done, {"content": "b", "status": "odd"}]) == [
        PlanEvent(
            entries=[PlanEntry(text="a", status=PlanEntry.STATUS_COMPLETED), PlanEntry(text="b")]
        )
    ]
    (plan,) = take("plan", entries=[{"content": "x" * MAX_PLAN}, done])
    assert plan == PlanEvent()


@pytest.mark.parametrize(
    ("said", "event"),
    [
        ({"used": 1, "size": 2}, UsageEvent(context_used=1, context_size=2)),
        ({"used": -1, "size": "x", "cost": None}, UsageEvent()),
        ({"cost": {"amount": 0, "currency": "USD"}}, UsageEvent()),
        ({"cost": {"amount": 0.5, "currency": "EUR"}}, UsageEvent(cost=0.5, currency="EUR")),
    ],
)
def test_usage(said: dict[str, Any], event: UsageEvent) -> None:
    assert take("usage_update", **said) == [event]


def test_an_agent_that_shortens_its_memory_says_so_once() -> None:
    assert take("compaction_update", status="in_progress") == [ChatNotice(message=COMPACTING)]
    assert take("compaction_update", status="completed") == []
    assert take("notice", severity="info") == []


def test_content_that_is_no_text_is_named() -> None:
    updates = Updates()
    for block, shown in (
        ({"type": "resource_link", "uri": "file:///a", "name": "a"}, "[a]"),
        ({"type": "resource", "resource": {"uri": "file:///a", "text": "b"}}, "b"),
        ({"type": "resource", "resource": {"uri": "file:///a"}}, "[file:///a]"),
        ({"type": "image", "data": "", "mimeType": "image/png"}, "[image]"),
    ):
        assert updates.take(chunk("message", **block)) == [ChatToken(text=shown)]
    assert not updates.empty


def test_halves_of_characters_are_kept_until_the_end() -> None:
    updates = Updates()
    assert updates.take(chunk("message", type="text", text="a\ud83d")) == [ChatToken(text="a")]
    assert updates.take(chunk("thought", type="text", text="\ud83d")) == []
    assert updates.end(failed=False) == [ReasoningToken(text="\ufffd"), ChatToken(text="\ufffd")]


@pytest.mark.parametrize("kind", ["message", "thought"])
def test_a_text_without_end_is_a_failure(kind: str) -> None:
    updates = Updates()
    updates.take(chunk(kind, type="text", text="x" * MAX_REPLY_BYTES))
    with pytest.raises(Failure) as caught:
        updates.take(chunk(kind, type="text", text="x"))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


def test_a_raw_output_that_is_nested_too_deeply_is_named() -> None:
    deep: Any = {"odd": None}
    for _ in range(100_000):
        deep = {"odd": deep}
    assert text_of_raw(deep) == "[output nested too deeply to show]"
    assert (text_of_raw(None), text_of_raw({}), text_of_raw([])) == ("", "", "")


# -- diffs -----------------------------------------------------------------------------------


def test_a_new_file_and_a_missing_newline_are_shown() -> None:
    patch = patch_of("/a", "", "one\ntwo", created=True)
    assert patch == (
        "--- /dev/null\n+++ /a\n@@ -0,0 +1,2 @@\n+one\n+two\n\\ No newline at end of file\n"
    )
    assert patch_of("/a", "same\n", "same\n", created=False) == ""


def test_a_change_of_many_lines_is_shown_as_a_replacement() -> None:
    old = "".join(f"{number}\n" for number in range(MAX_COMPARED))
    patch = patch_of("/a", old, "new\n", created=False)
    assert patch.startswith(f"--- /a\n+++ /a\n@@ -1,{MAX_COMPARED} +1,1 @@\n-0\n-1\n")
    assert patch.endswith("\n+new\n")
    assert patch_of("/a", old, old, created=False) == ""


def test_changes_beyond_the_limit_are_left_out_and_told() -> None:
    large = {"type": "diff", "path": "/a", "oldText": None, "newText": "x" * MAX_DIFFS}
    small = {"type": "diff", "path": "/b", "oldText": "1\n", "newText": "2\n"}
    same = {"type": "diff", "path": "/c", "oldText": "1\n", "newText": "1\n"}
    diffs, whole = patches_of([small, large, same])
    assert ([diff.path for diff in diffs], whole) == (["/b"], False)
    assert patches_of([small, same])[1]
    assert not patches_of([{"newText": "no path"}])[1]


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_the_added_and_removed_lines_of_a_patch_make_the_difference(
    old: list[str], new: list[str]
) -> None:
    before, after = ("".join(f"{line}\n" for line in lines) for lines in (old, new))
    lines = patch_of("/a", before, after, created=False).splitlines()[2:]
    added = sum(line.startswith("+") for line in lines)
    removed = sum(line.startswith("-") for line in lines)
    assert len(old) + added - removed == len(new)
