"""The end of a reply of the backend `echo`, and what its history keeps of it."""

from collections.abc import AsyncIterator
from typing import Never

import pytest

from actors import Burst
from callboard.v1.chat_pb2 import ChatCompleted, HistoryEntry, StopReason
from callboard_service.backends.base import Prompt
from callboard_service.backends.echo import backend as echo
from callboard_service.backends.echo.backend import CUT, EchoBackend
from callboard_service.log import make_log


async def _unanswered() -> Never:
    raise AssertionError("nothing is asked here")


@pytest.fixture
async def backend() -> AsyncIterator[EchoBackend]:
    made = EchoBackend(lambda line: None)
    await made.open()
    yield made
    await made.close()


async def said(backend: EchoBackend, text: str) -> tuple[ChatCompleted, list[HistoryEntry]]:
    """Run the text's directives; return the last event, and the reply as the history has it."""
    conversation = (await backend.create("")).id
    prompt = Prompt(conversation, text, "", _unanswered, make_log("error"))
    last = None
    async for event in backend.reply(prompt):
        if isinstance(event, Burst):
            for _ in event.answers:
                pass
        last = event
    assert isinstance(last, ChatCompleted)
    history = await backend.history(conversation, 0, "")
    return last, list(history.entries)[1:]


@pytest.mark.parametrize(
    ("text", "kept", "tokens"),
    [
        ("[[repeat:10000000]]", "000 001 00", 10_000_000),
        ("[[repeat:2]][[repeat:10000000]]", "000 001 00", 10_000_002),
        ("[[delay:0]][[repeat:9]]", "000 001 00", 9),
        ("one two three four", "one two th", 4),
        ("éé éé éé", "éé éé ", 3),
        ("oné two thrée", "oné two t", 3),
        ("a b c d e ", "a b c d e ", None),
        ("[[repeat:2]]12", "000 001 12", None),
        ("123456789éx", "123456789", 1),
    ],
)
async def test_the_history_keeps_a_bounded_beginning_and_says_that_it_is_cut(
    backend: EchoBackend, monkeypatch: pytest.MonkeyPatch, text: str, kept: str, tokens: int | None
) -> None:
    monkeypatch.setattr(echo, "MAX_KEPT", 10)
    completed, (entry,) = await said(backend, text)
    assert entry.assistant_text == (kept if tokens is None else kept + CUT)
    if tokens is not None:
        assert completed.output_tokens == tokens


async def test_a_reply_stops_where_the_text_says_for_the_reason_that_it_says(
    backend: EchoBackend,
) -> None:
    completed, (entry,) = await said(backend, "a b[[stop:MAX_TOKENS]] c")
    assert completed.stop_reason == StopReason.STOP_REASON_MAX_TOKENS
    assert (entry.assistant_text, completed.output_tokens) == ("a b", 2)
    completed, _ = await said(backend, "a [[stop:NO_REASON]]")
    assert completed.stop_reason == StopReason.STOP_REASON_END_TURN


async def test_the_history_keeps_a_bounded_number_of_tool_calls(
    backend: EchoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(echo, "MAX_KEPT_CALLS", 2)
    _, entries = await said(backend, "[[tool:a]]" * 5 + "end")
    kinds = [entry.WhichOneof("entry") for entry in entries]
    assert kinds == ["tool_call", "tool_result"] * 2 + ["assistant_text"]
