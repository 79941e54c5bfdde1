"""Snapshots: what a follower gets in place of events that it missed."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from actors import Failure
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

CHOICES_BYTES: Final = 64 * 1024
"""The largest options, and commands, that a snapshot has."""

CHOICES_WAIT: Final = 2.0
"""Seconds that a snapshot waits for the backend's options and commands."""

_FRAME: Final = 4 * 1024
"""Bytes reserved in each part for the turn's state, and for lengths and tags."""


async def snapshot(conversation: "Conversation") -> list[ConversationEvent]:
    """Return the parts of a snapshot of the open turns, all with the log's last position.

    Raises Failure if the store cannot be read.
    """
    while True:
        ended = conversation.ended
        info = await conversation.environment.listing.get(conversation.id)
        newest = await conversation.journal.newest_entry(conversation.id)
        shown = await _choices(conversation)
        if conversation.ended == ended:  # else `newest` may lack a turn that is not open any more
            break
    shown.info.CopyFrom(info)
    shown.last_entry = newest
    parts, size = [shown], shown.ByteSize()
    for turn in conversation.turns.values():
        opened = OpenTurn(info=turn.info(whole=True))
        if size + opened.ByteSize() > PART_BYTES:
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


async def _choices(conversation: "Conversation") -> ConversationSnapshot:
    """Return the part of a snapshot that holds the usage, the options and the commands.

    Options and commands that are too large, or that the backend does not tell in time, are left
    out. Raises Failure.
    """
    shown = ConversationSnapshot()
    usage = conversation.usage or await conversation.journal.usage(conversation.id)
    if usage is not None:
        shown.usage.CopyFrom(usage)
    backend, features = conversation.environment.backend, conversation.environment.listing.features
    with suppress(Failure, TimeoutError):
        async with asyncio.timeout(CHOICES_WAIT):
            if "options" in features:
                options = await backend.options(conversation.id)
                if options.ByteSize() <= CHOICES_BYTES:
                    shown.options.CopyFrom(options)
            if "commands" in features:
                commands = await backend.commands(conversation.id)
                if commands.ByteSize() <= CHOICES_BYTES:
                    shown.commands.CopyFrom(commands)
    return shown


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
