"""The record of a turn: what snapshots and the history have of it."""

import pytest

from actors import Code, Failure
from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatNotice,
    ConversationEvent,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
)
from callboard_service.chat import record as records
from callboard_service.chat.record import TurnRecord
from callboard_service.store.pieces import CUT_OFF


def texts(record: TurnRecord) -> list[str]:
    """Return the record's events in a short form."""
    return [_short(event) for event in record.events()]


def _short(event: ConversationEvent) -> str:
    kind = event.WhichOneof("event")
    assert kind is not None
    match kind:
        case "token":
            return event.token.text
        case "reasoning":
            return f"({event.reasoning.text})"
        case _:
            return kind


def test_neighbouring_tokens_of_one_kind_are_joined() -> None:
    record = TurnRecord()
    for piece in ("a", "b"):
        record.add_tokens([piece], reasoning=True)
    record.add_tokens(["c", "d"], reasoning=False)
    record.add_tokens(["e"], reasoning=False)
    record.add_tokens(["f"], reasoning=True)
    assert texts(record) == ["(ab)", "cde", "(f)"]
    kinds = [entry.WhichOneof("entry") for entry in record.entries()]
    assert kinds == ["reasoning_text", "assistant_text", "reasoning_text"]


def test_a_discard_takes_back_tokens_and_says_how_much_text_is_left() -> None:
    record = TurnRecord()
    record.add_tokens(["é", "bb"], reasoning=False)
    record.add(ToolCallEvent(call_id="1", name="t"))
    record.add_tokens(["ccc"], reasoning=False)
    record.add_tokens(["thought"], reasoning=True)
    notice = ChatNotice(message="again", discard_tokens=2)
    record.add(notice)
    assert notice.keep_text_bytes == len("é".encode())
    assert texts(record) == ["é", "tool_call", "(thought)"]
    everything = ChatNotice(discard_tokens=99)
    record.add(everything)
    assert everything.keep_text_bytes == 0
    assert everything.HasField("keep_text_bytes")
    assert texts(record) == ["tool_call", "(thought)"]


def test_a_discard_that_is_void_says_so_too() -> None:
    record = TurnRecord()
    record.add_tokens(["ab"], reasoning=False)
    notice = ChatNotice(message="only a notice")
    record.add(notice)
    assert not notice.HasField("keep_text_bytes")
    assert texts(record) == ["ab", "notice"]


def test_only_the_latest_event_of_a_tool_call_stands() -> None:
    record = TurnRecord()
    record.add(ToolCallEvent(call_id="1", name="read"))
    record.add_tokens(["x"], reasoning=False)
    record.add(ToolCallEvent(call_id="1", name="read", title="Read a file"))
    record.add(ToolCallEvent(call_id="2", name="write"))
    calls = [event.tool_call.title for event in record.events() if event.HasField("tool_call")]
    assert calls == ["Read a file", ""]
    assert texts(record) == ["tool_call", "x", "tool_call"]


def test_progress_is_left_out_once_there_is_a_result() -> None:
    record = TurnRecord()
    for call in ("1", "2"):
        record.add(ToolCallEvent(call_id=call, name="t"))
        record.add(ToolProgressEvent(call_id=call, output="…"))
    record.add(ToolResultEvent(call_id="1", output="done"))
    assert texts(record) == ["tool_call", "tool_call", "tool_progress", "tool_result"]
    kinds = [entry.WhichOneof("entry") for entry in record.entries()]
    assert kinds == ["tool_call", "tool_call", "tool_result"]


def test_the_record_knows_which_asks_are_open() -> None:
    record = TurnRecord()
    record.add(AskEvent(ask_id="a"))
    record.add(AskEvent(ask_id="b"))
    record.add(AskClosed(ask_id="a", answers=["yes"], answered=True))
    assert list(record.asks) == ["b"]
    assert record.closed["a"].answers == ["yes"]
    assert len(record.entries()) == 3


def test_a_turn_that_is_too_long_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is refused and not part of the record, because no client gets it."""
    monkeypatch.setattr(records, "MAX_TURN_BYTES", 100)
    record = TurnRecord()
    record.add_tokens(["x" * 84], reasoning=False)
    with pytest.raises(Failure) as caught:
        record.add_tokens(["y"], reasoning=False)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert texts(record) == ["x" * 84]
    tools = TurnRecord()
    with pytest.raises(Failure):
        tools.add(ToolResultEvent(call_id="1", output="x" * 100))
    assert texts(tools) == []


def test_an_open_ask_can_be_closed_in_a_turn_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of an ask that is open is recorded in any case, a second end only if it fits."""
    record = TurnRecord()
    record.add(AskEvent(ask_id="1"))
    monkeypatch.setattr(records, "MAX_TURN_BYTES", 1)
    record.add(AskClosed(ask_id="1"))
    assert texts(record) == ["ask", "ask_closed"]
    with pytest.raises(Failure):
        record.add(AskClosed(ask_id="1"))


def test_an_open_tool_call_can_be_cut_off_in_a_turn_that_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = TurnRecord()
    record.add(ToolCallEvent(call_id="1"))
    monkeypatch.setattr(records, "MAX_TURN_BYTES", 1)
    record.add(ToolResultEvent(call_id="1", output=CUT_OFF))
    assert texts(record) == ["tool_call", "tool_result"]
    with pytest.raises(Failure):
        record.add(ToolResultEvent(call_id="1", output=CUT_OFF))
