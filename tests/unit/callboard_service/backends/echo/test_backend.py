"""The replies of the backend `echo`, and what the history of a conversation keeps of them."""

from collections.abc import AsyncIterator

import pytest

from actors import ActorSystem
from actors.testing import actor_events, actor_system, manual_clock
from callboard.v1.chat_pb2 import ChatCompleted, StopReason
from callboard_service.backends.echo.backend import EchoBackend
from callboard_service.chat import record
from tests.support.conversing import Talk, conversing, text_of

__all__ = ["actor_events", "actor_system", "manual_clock"]


@pytest.fixture
async def talk(actor_system: ActorSystem) -> AsyncIterator[Talk[EchoBackend]]:
    async with conversing(EchoBackend(pytest.fail), actor_system) as talk:
        yield talk


@pytest.mark.parametrize(
    ("text", "kept", "tokens"),
    [
        ("[[repeat:3]]", "000 001 002 ", 3),
        ("[[repeat:2]][[repeat:1]]", "000 001 000 ", 3),
        ("[[delay:0]][[repeat:2]]", "000 001 ", 2),
        ("one two three four", "one two three four", 4),
        ("oné two thrée", "oné two thrée", 3),
        ("a b c d e ", "a b c d e ", 6),
        ("[[repeat:2]]12", "000 001 12", 3),
    ],
)
async def test_the_history_keeps_the_reply_that_was_sent(
    talk: Talk[EchoBackend], text: str, kept: str, tokens: int
) -> None:
    """The history has the text of all tokens, and their number."""
    *said, completed = await talk.all(text)
    assert (text_of(said), completed.output_tokens) == (kept, tokens)
    assert len(said) == tokens
    assert await talk.kept() == [text, f"> {kept}"]


@pytest.mark.parametrize(
    ("limit", "text", "kept"),
    [
        (100, "[[repeat:10000000]]", ""),
        (5000, "[[repeat:10000000]]", "".join(f"{number % 1000:03} " for number in range(1024))),
        (100, "word " * 100, "word word word word"),
    ],
)
async def test_a_reply_that_is_too_long_ends_and_the_history_keeps_what_was_sent(
    talk: Talk[EchoBackend], monkeypatch: pytest.MonkeyPatch, limit: int, text: str, kept: str
) -> None:
    """A reply beyond the bytes of a turn fails; the history has exactly the text that was sent."""
    monkeypatch.setattr(record, "MAX_TURN_BYTES", limit)
    failure, events = await talk.failure(text)
    assert (failure.code.value, failure.retryable) == ("RESOURCE_EXHAUSTED", False)
    assert text_of(events) == kept
    assert await talk.kept() == [text, *([f"> {kept}"] if kept else []), "! RESOURCE_EXHAUSTED"]


async def test_a_reply_stops_where_the_text_says_for_the_reason_that_it_says(
    talk: Talk[EchoBackend],
) -> None:
    """The end of a reply and its last entry have the reason that the text names."""
    completed = (await talk.all("a b[[stop:MAX_TOKENS]] c"))[-1]
    assert completed == ChatCompleted(
        input_tokens=3, output_tokens=2, stop_reason=StopReason.STOP_REASON_MAX_TOKENS
    )
    assert await talk.kept() == ["a b[[stop:MAX_TOKENS]] c", "> a b"]
    assert (await talk.entries())[-1].completed == completed
    completed = (await talk.all("a [[stop:NO_REASON]]"))[-1]
    assert completed.stop_reason == StopReason.STOP_REASON_END_TURN
    assert (await talk.entries())[-1].completed == completed


async def test_a_reply_without_text_has_its_reason_in_the_history(
    talk: Talk[EchoBackend],
) -> None:
    """A reply that stops before its first token is kept as an empty text with the reason."""
    (completed,) = await talk.all("[[stop:REFUSAL]]")
    assert completed.stop_reason == StopReason.STOP_REASON_REFUSAL
    assert await talk.kept() == ["[[stop:REFUSAL]]", "> "]
    assert (await talk.entries())[-1].completed == completed


async def test_the_history_keeps_all_tool_calls_in_their_places(talk: Talk[EchoBackend]) -> None:
    """Calls and results are entries between the texts, in the order in which they were sent."""
    await talk.all("a[[tool:a]]b" + "[[tool:b]]" * 4)
    calls = ["tool_call", "tool_result"]
    assert (await talk.kept())[1:] == ["> a", *calls, "> b", *calls * 4]
