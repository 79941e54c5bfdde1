"""Messages that the server keeps become entries of the history."""

import re

from callboard_service.backends.opencode.history import changes_of, entries_of, session_info
from tests.unit.callboard_service.backends.opencode.recordings import (
    conversations,
    recorded,
    state_after,
)


def kept(name: str) -> list[tuple[str, str]]:
    events = recorded(name)
    state = state_after(events, conversations(events)[0])
    entries = entries_of(state.messages)
    assert len({entry.id for entry in entries}) == len(entries)
    assert all(entry.id and entry.at.seconds > 1_700_000_000 for entry in entries)
    return [(str(entry.WhichOneof("entry")), entry.assistant_text) for entry in entries]


def test_tools_have_their_call_and_their_result() -> None:
    tool = [("tool_call", ""), ("tool_result", "")]
    assert kept("b_tool_write_read") == [
        ("user_text", ""),
        *tool,
        *tool,
        ("assistant_text", "done"),
    ]


def test_an_error_is_an_entry_and_an_abort_is_not() -> None:
    assert kept("c_err_400") == [("user_text", ""), ("error", "")]
    assert kept("d_abort_text") == [("user_text", ""), ("assistant_text", "w0 w1 w2 w3 ")]


def test_what_was_cut_and_what_the_server_added_itself_is_no_entry() -> None:
    assert kept("c_drop") == [("user_text", "")]
    parts = [
        {"id": "1", "type": "text", "text": "added", "synthetic": True},
        {"id": "2", "type": "text", "text": "hidden", "ignored": True},
        {"id": "3", "type": "tool", "state": {"status": "pending"}},
        {"id": "4", "type": "new"},
        {"id": "5", "type": "text", "text": "said"},
    ]
    user = {"info": {"role": "user", "time": {"created": 1}}, "parts": parts}
    summary = {"info": {"role": "assistant", "summary": True}, "parts": parts}
    assert [entry.user_text for entry in entries_of([user, summary])] == ["said"]


def test_odd_messages_and_conversations_do_no_harm() -> None:
    assert entries_of([{}, {"info": 1, "parts": 2}, {"parts": [None, {"type": "tool"}]}]) == []
    assert session_info({"time": {"created": -5, "updated": 1e300}}, {}).id == ""


def test_what_is_changed_has_the_server_s_form() -> None:
    """A blank title is one that OpenCode replaces; its archive has a time, and 0 for none."""
    assert changes_of(None, None) == {}
    assert changes_of("new", None) == {"title": "new"}
    blank = str(changes_of("  ", None)["title"])
    assert re.fullmatch(r"New session - \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", blank)
    assert changes_of(None, False) == {"time": {"archived": 0}}
    archived = changes_of(None, True)
    assert session_info(archived, {}).archived
    assert not session_info(changes_of(None, False), {}).archived
