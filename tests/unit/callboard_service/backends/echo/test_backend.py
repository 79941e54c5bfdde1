"""The replies of the backend `echo`, and what the history of a conversation keeps of them."""

from collections.abc import AsyncIterator

import pytest

from actors import ActorSystem
from actors.testing import actor_events, actor_system, manual_clock
from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ChatNotice,
    ChatToken,
    PlanEntry,
    PlanEvent,
    ReasoningToken,
    StopReason,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    UsageEvent,
)
from callboard_service.backends.base import ReplyEvent
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


def named(event: ReplyEvent) -> str:
    """Return an event in a short form."""
    match event:
        case ChatToken() | ReasoningToken():
            return event.text
        case ToolProgressEvent():
            return f"progress {event.call_id} {event.output}"
        case ToolCallEvent() | ToolResultEvent():
            return f"{type(event).__name__} {event.call_id}"
        case _:
            return type(event).__name__


async def test_a_tool_s_result_follows_the_progress_after_its_call(
    talk: Talk[EchoBackend],
) -> None:
    """Progress is that of the tool called last, which runs until something else follows."""
    text = "[[tool:a]][[progress:1]][[delay:0]][[progress:2]]x[[progress:3]][[tool:b]][[tool:c]]"
    assert [named(event) for event in await talk.all(text)] == [
        "ToolCallEvent call-1",
        "progress call-1 1",
        "progress call-1 2",
        "ToolResultEvent call-1",
        "x",
        "progress call-1 3",
        "ToolCallEvent call-7",
        "ToolResultEvent call-7",
        "ToolCallEvent call-8",
        "ToolResultEvent call-8",
        "ChatCompleted",
    ]


async def test_plans_usage_and_notices_are_sent_and_not_kept(talk: Talk[EchoBackend]) -> None:
    """Events that only describe a running reply are in its stream and not in the history."""
    text = "[[plan:a;b]][[usage:7/100]][[notice:careful]]"
    assert (await talk.all(text))[:-1] == [
        PlanEvent(
            entries=[
                PlanEntry(text="a", status=PlanEntry.STATUS_PENDING),
                PlanEntry(text="b", status=PlanEntry.STATUS_PENDING),
            ]
        ),
        UsageEvent(context_used=7, context_size=100),
        ChatNotice(message="careful"),
    ]
    assert await talk.kept() == [text, "> "]


@pytest.mark.parametrize(
    ("text", "kept", "keep_text_bytes"),
    [
        ("one two three[[discard:2]] four", ["> one four"], 3),
        ("é b[[discard:1]]c", ["> éc"], 2),
        ("[[repeat:1000]][[discard:999]]x", ["> 000 x"], 4),
        ("a b[[tool:t]]c d[[discard:3]]e", ["> a", "tool_call", "tool_result", "> e"], 1),
        ("a b[[discard:10]]", ["> "], 0),
        ("[[reasoning:hm]]a[[discard:1]]b", ["~ hm", "> b"], 0),
    ],
)
async def test_discarded_tokens_are_not_in_the_history(
    talk: Talk[EchoBackend], text: str, kept: list[str], keep_text_bytes: int
) -> None:
    """A discard voids the last text tokens, and its notice says how much text is left."""
    events = await talk.all(text)
    (notice,) = [event for event in events if isinstance(event, ChatNotice)]
    assert notice.HasField("keep_text_bytes")
    assert notice.keep_text_bytes == keep_text_bytes
    assert (await talk.kept())[1:] == kept
