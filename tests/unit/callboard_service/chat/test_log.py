"""The log of a conversation, as its followers read it."""

from callboard.v1.chat_pb2 import ChatToken, ReasoningToken, ToolCallEvent
from callboard_service.chat.log import ConversationLog, LogEvent, Positions, conversation_events


def a_log() -> ConversationLog:
    """Return a log with tokens of two kinds and a tool call."""
    log = ConversationLog(Positions(lambda: 1))
    log.add_tokens("t", ChatToken, ["a", "b"], 2)
    log.add_tokens("t", ReasoningToken, ["c"], 1)
    log.add("t", ToolCallEvent(name="find"))
    return log


async def all_of(log: ConversationLog) -> list[LogEvent]:
    return await log.reader(log.events.after, paces=False).next()


async def test_followers_that_read_the_same_share_its_encoding() -> None:
    log = a_log()
    one, two = log.shared(await all_of(log)), log.shared(await all_of(log))
    assert [part is other for part, other in zip(one, two, strict=True)] == [True] * 3


async def test_a_follower_that_reads_other_events_gets_these() -> None:
    log = a_log()
    events = await all_of(log)
    for part in (events, events[1:], events[:1], events[1:2], events):
        made = [event.message for event in log.shared(part)]
        assert made == list(conversation_events(part))


async def test_an_idle_conversation_keeps_no_encoded_events() -> None:
    log = a_log()
    events = await all_of(log)
    one = log.shared(events)
    log.pin(None)
    assert log.shared(events)[0] is not one[0]
