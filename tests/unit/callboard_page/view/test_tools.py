"""Tool calls and attachments, as a person sees them."""

import pytest
from google.protobuf.struct_pb2 import Struct

from callboard.v1.chat_pb2 import (
    Attachment,
    FileDiff,
    Location,
    ToolCallEvent,
    ToolKind,
    ToolProgressEvent,
    ToolResultEvent,
    TurnState,
)
from callboard_page.nodes import Element, Event, find, text_of
from callboard_page.view.tools import MOST_LINES, MOST_SHOWN
from tests.support.still_page import StillPage, add, turn

RUNNING = TurnState.TURN_STATE_RUNNING

CALL = ToolCallEvent(call_id="1", name="read_file", title="Read a.py", kind=ToolKind.TOOL_KIND_READ)


@pytest.fixture
def page() -> StillPage:
    return StillPage()


def tool(page: StillPage, *events: object, state: TurnState.ValueType = RUNNING) -> Element:
    page.show([turn(*events, state=state)])
    (shown,) = page.find(class_="tool")
    return shown


def opened(page: StillPage, *events: object) -> Element:
    tool(page, *events)
    find(page.find(class_="tool")[0], tag="summary")[0].handlers["click"](Event("click"))
    (shown,) = page.find(class_="tool")
    assert "open" in shown.attributes
    return shown


@pytest.mark.parametrize(
    ("events", "state", "class_", "label"),
    [
        ([], RUNNING, "running", "running"),
        ([ToolResultEvent(call_id="1", output="x")], RUNNING, "done", "done"),
        ([ToolResultEvent(call_id="1", is_error=True)], RUNNING, "error", "failed"),
        ([], TurnState.TURN_STATE_COMPLETED, "error", "ended without a result"),
        ([], TurnState.TURN_STATE_CANCELLED, "error", "ended without a result"),
    ],
)
def test_its_state(
    page: StillPage,
    events: list[object],
    state: TurnState.ValueType,
    class_: str,
    label: str,
) -> None:
    shown = tool(page, CALL, *events, state=state)
    (mark,) = find(shown, class_="state")
    assert class_ in mark.attributes["class"].split()
    assert (text_of(mark), mark.attributes["title"]) == (label, label)
    assert text_of(find(shown, class_="title")[0]) == "Read a.py"
    assert text_of(find(shown, class_="kind")[0]) == "Read"


def test_a_tool_that_says_little(page: StillPage) -> None:
    shown = opened(page, ToolCallEvent(call_id="1"))
    assert text_of(find(shown, class_="title")[0]) == "a tool"
    assert text_of(find(shown, class_="kind")[0]) == "Tool"
    assert text_of(find(shown, class_="empty")[0]) == "There is nothing to show."


def test_its_details_are_closed_until_they_are_opened(page: StillPage) -> None:
    shown = tool(page, CALL, ToolProgressEvent(call_id="1", output="a line"))
    assert "open" not in shown.attributes
    assert "a line" not in text_of(shown)
    shown = opened(page, CALL, ToolProgressEvent(call_id="1", output="a line"))
    assert "a line" in text_of(shown)


def test_its_arguments_places_and_output(page: StillPage) -> None:
    arguments = Struct()
    arguments.update({"path": "<b>ü</b>", "n": 1})
    places = [Location(path="a.py", line=3), Location(path="b.py")]
    call = ToolCallEvent(call_id="1", name="x", arguments=arguments, locations=places)
    shown = opened(page, call, ToolResultEvent(call_id="1", output="<i>out</i>"))
    assert text_of(find(shown, class_="places")[0]) == "a.py:3, b.py"
    arguments_shown, output = map(text_of, find(shown, tag="pre"))
    assert '"path": "<b>ü</b>"' in arguments_shown
    assert output == "<i>out</i>"
    assert all(one.attributes["tabindex"] == "0" for one in find(shown, tag="pre"))
    find(shown, class_="copy")[0].handlers["click"](Event("click"))
    assert page.window.copied == ["<i>out</i>"]


def test_output_comes_live(page: StillPage) -> None:
    shown = turn(CALL, ToolProgressEvent(call_id="1", output="one\n"), state=RUNNING)
    page.show([shown])
    page.chat.toggle("t1/0")
    assert page.texts(tag="pre") == ["one\n"]
    add(shown, ToolProgressEvent(call_id="1", output="two\n"))
    assert page.texts(tag="pre") == ["one\ntwo\n"]


def test_a_long_output_shows_its_end_and_is_copied_whole(page: StillPage) -> None:
    output = "a" * 5 + "b" * MOST_SHOWN
    shown = opened(page, CALL, ToolResultEvent(call_id="1", output=output))
    (text,) = map(text_of, find(shown, tag="pre"))
    assert text == "… 5 characters are left out here\n" + "b" * MOST_SHOWN
    find(shown, class_="copy")[0].handlers["click"](Event("click"))
    assert page.window.copied == [output]


PATCH = "--- a/x.sql\n+++ b/x.sql\n@@ -1,3 +1,3 @@\n a\n--- a comment\n+++ i\n\\ No newline\n"


def test_a_diff_is_open_and_shows_each_line_that_changed(page: StillPage) -> None:
    shown = tool(
        page, CALL, ToolResultEvent(call_id="1", diffs=[FileDiff(path="x.sql", patch=PATCH)])
    )
    assert "open" in shown.attributes
    (diff,) = find(shown, class_="diff")
    assert text_of(find(diff, tag="h4")[0]) == "x.sql"
    lines = [
        (line.attributes.get("class"), text_of(line))
        for line in find(diff, tag="pre")[0].children
        if isinstance(line, Element)
    ]
    assert lines == [
        ("hunk", "@@ -1,3 +1,3 @@\n"),
        (None, " a\n"),
        ("removed", "--- a comment\n"),
        ("added", "+++ i\n"),
        (None, "\\ No newline\n"),
    ]
    find(shown, tag="summary")[0].handlers["click"](Event("click"))
    assert "open" not in page.find(class_="tool")[0].attributes


def test_a_long_diff_says_that_it_is_cut(page: StillPage) -> None:
    patch = "@@ -0,0 +1 @@\n" + "+a\n" * (MOST_LINES + 9)
    diff = FileDiff(path="x", patch=patch)
    shown = tool(page, CALL, ToolResultEvent(call_id="1", diffs=[diff]))
    assert text_of(find(shown, class_="diff")[0]).endswith("… 10 lines are left out here")


def test_an_attachment_of_a_result_can_be_saved(page: StillPage) -> None:
    file = Attachment(id="f", name="a.bin", size=1500, media_type="application/x-y")
    shown = opened(page, CALL, ToolResultEvent(call_id="1", attachments=[file]))
    (button,) = find(shown, class_="attachment")
    assert text_of(button) == "a.bin1.5 kB"
    assert button.attributes["aria-label"] == "Save a.bin"


def test_a_picture_is_shown_with_its_name(page: StillPage) -> None:
    picture = Attachment(id="p", name="a.png", size=5, media_type="image/png")
    page.chat.pictures["p"] = "blob:1"
    shown = opened(page, CALL, ToolResultEvent(call_id="1", attachments=[picture]))
    (image,) = find(shown, tag="img")
    assert (image.attributes["src"], image.attributes["alt"]) == ("blob:1", "a.png")
