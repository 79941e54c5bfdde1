"""What is known of a call when its permission is asked for."""

import json
from typing import Any

import pytest

from callboard.v1.chat_pb2 import ToolCallEvent
from callboard_service.backends.acp.calls import Calls
from callboard_service.backends.acp.permissions import detail_of

COMMAND = "make everything; make clean"


def said(text: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "content", "content": {"type": "text", "text": text}}]
    return {"toolCallId": "1", "title": "Bash", "content": content, **more}


def asked(told: str, **more: Any) -> tuple[str, list[Any]]:
    """Return what a person sees of a permission that is shortened, and the events."""
    calls = Calls()
    calls.upsert(said(told, **more), begins=True)
    question = said("Running: make ever…")
    call, events = calls.wait(question)
    return detail_of(question, call)[0], events


def test_arguments_that_came_as_text_are_shown_in_full_with_the_permission() -> None:
    detail, events = asked(json.dumps({"command": COMMAND}))
    assert detail == f"Running: make ever…\n{COMMAND}"
    (event,) = events
    assert isinstance(event, ToolCallEvent)
    assert event.arguments["command"] == COMMAND


@pytest.mark.parametrize("told", ["", "words", '"words"', "{", "[" * 100_000])
def test_a_text_that_is_no_arguments_is_left_alone(told: str) -> None:
    assert asked(told) == ("Running: make ever…", [])


def test_arguments_that_the_agent_gave_are_not_replaced() -> None:
    detail, _ = asked('{"command": "other"}', rawInput={"command": COMMAND})
    assert detail == f"Running: make ever…\n{COMMAND}"
