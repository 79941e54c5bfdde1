"""Snapshots: what a follower gets in place of events that it missed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from callboard.v1.chat_pb2 import (
    ChatToken,
    ConversationEvent,
    ConversationSnapshot,
    OpenTurn,
    ReasoningToken,
)

if TYPE_CHECKING:
    from callboard_service.chat.conversation import Conversation

PART_BYTES: Final = 256 * 1024
"""The largest part of a snapshot."""

_TEXT: Final = 32 * 1024
"""Characters of text in one event of a snapshot; they take at most four times as many bytes."""

_FRAME: Final = 4 * 1024
"""Bytes reserved in each part for the turn's state, and for lengths and tags."""


async def snapshot(conversation: "Conversation") -> list[ConversationEvent]:
    """Return the parts of a snapshot of the open turns, all with the log's last position.

    Raises Failure if the store cannot be read.
    """
    while True:
        ended = conversation.ended
        info = await conversation.environment.backend.get(conversation.id)
        newest = await conversation.journal.newest_entry(conversation.id)
        if conversation.ended == ended:  # else `newest` may lack a turn that is not open any more
            break
    first = ConversationSnapshot(info=info, last_entry=newest)
    parts, size = [first], first.ByteSize()
    for turn in conversation.turns.values():
        opened = OpenTurn(info=turn.info(whole=True))
        if size + opened.ByteSize() > PART_BYTES and size:
            parts.append(ConversationSnapshot())
            size = 0
        parts[-1].turns.append(opened)
        size += opened.ByteSize() + _FRAME
        for event in _in_pieces(turn.output.record.events()):
            more = event.ByteSize() + 8
            if size + more > PART_BYTES - _FRAME and parts[-1].turns[-1].events:
                parts.append(ConversationSnapshot(turns=[OpenTurn(info=turn.info())]))
                size = _FRAME
            parts[-1].turns[-1].events.append(event)
            size += more
    for part in parts[:-1]:
        part.more = True
    position = conversation.log.last
    return [ConversationEvent(position=position, snapshot=part) for part in parts]


def _in_pieces(events: Iterator[ConversationEvent]) -> Iterator[ConversationEvent]:
    """Yield the events with long texts split."""
    for event in events:
        kind = event.WhichOneof("event")
        if kind == "token":
            text = event.token.text
            for start in range(0, len(text), _TEXT):
                yield ConversationEvent(token=ChatToken(text=text[start : start + _TEXT]))
        elif kind == "reasoning":
            text = event.reasoning.text
            for start in range(0, len(text), _TEXT):
                yield ConversationEvent(reasoning=ReasoningToken(text=text[start : start + _TEXT]))
        else:
            yield event
