"""What observers may know of a conversation: counts and states, no text."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from callboard.v1.chat_pb2 import TurnState

if TYPE_CHECKING:
    from callboard_service.chat.conversation import Conversation


@dataclass(frozen=True, slots=True)
class ConversationDetails:
    """A conversation's turns, readers and log: `ActorView.details` of its actor."""

    state: TurnState.ValueType
    """Of the running turn; UNSPECIFIED: none runs."""
    queued: int
    """Turns that wait."""
    asks: int
    """Asks that wait for an answer."""
    followers: int
    senders: int
    """Requests that stream an open turn."""
    events: int
    """Events in its log since its actor was started."""
    log_bytes: int
    """Bytes of those that are kept."""


def describe(conversation: "Conversation") -> ConversationDetails:
    """Return the details of a conversation."""
    turns, running = conversation.turns.values(), conversation.running
    events = conversation.log.events
    return ConversationDetails(
        state=TurnState.TURN_STATE_UNSPECIFIED if running is None else running.state,
        queued=sum(turn.queued for turn in turns),
        asks=sum(len(turn.output.record.asks) for turn in turns),
        followers=conversation.followers,
        senders=sum(len(turn.senders) for turn in turns),
        events=events.end,
        log_bytes=events.bytes,
    )
