"""Turns as the store takes and returns them."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime

from callboard.v1.chat_pb2 import Attachment, ChatCompleted, ChatError, TurnState
from callboard_service.store.histories import RecentTurns


@dataclass(frozen=True, slots=True)
class NewTurn:
    """A message to admit.

    message_id, model, replaces: as in SendMessageRequest; empty: none. deadline_at: aware; None: no
    deadline. starts: it starts at once. place: its place in the queue, from 1, if it does not
    start; 0: the last one. attachments: those with an `upload_id` are uploads, the others are new.
    recent_bytes: how much of the conversation to return if it starts. handed: it is handed to the
    running turn, and queued only in case that this one does not use it.
    """

    id: str
    text: str
    message_id: str = ""
    model: str = ""
    detached: bool = False
    deadline_at: datetime | None = None
    replaces: str = ""
    _: KW_ONLY
    starts: bool
    place: int = 0
    attachments: tuple[Attachment, ...] = ()
    recent_bytes: int = 0
    handed: bool = False


@dataclass(frozen=True, slots=True)
class KeptTurn:
    """A turn as stored.

    place: in the queue, from 1; 0: not queued. deadline_at: in UTC. completed, error: how it
    ended; at most one of them is not None. handed: as in NewTurn.
    """

    id: str
    message_id: str
    text: str
    model: str
    detached: bool
    deadline_at: datetime | None
    state: TurnState.ValueType
    place: int
    completed: ChatCompleted | None
    error: ChatError | None
    attachments: tuple[Attachment, ...] = ()
    handed: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """The turn of a message. repeated: the message was known, and nothing was written.

    choices: what was chosen in the conversation, by option. recent: the newest
    `NewTurn.recent_bytes` of its texts, if any were asked for and the turn has started.
    """

    turn: KeptTurn
    repeated: bool
    choices: Mapping[str, str] = field(default_factory=dict)
    recent: RecentTurns | None = None
