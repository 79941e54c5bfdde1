"""The messages that a conversation's actor takes, and what it answers."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from actors import ActorRef, EndedBy, EventReader, Failure, Question
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    AskClosed,
    ConversationEvent,
    OptionList,
    SendMessageRequest,
    SessionInfo,
    TurnInfo,
)
from callboard_service.chat.log import ConversationLog, LogEvent
from callboard_service.store.kept_turns import KeptTurn


@dataclass(eq=False)
class Sender:
    """A request that streams a turn. Its handler sets `ended_by` and `said` when it ends.

    first: it started the turn, so its deadline is the turn's.
    """

    ref: ActorRef[object]
    session: str
    turn_id: str = ""
    first: bool = False
    ended_by: EndedBy | None = None
    said: Failure | None = None


@dataclass(slots=True)
class Streamed:
    """A turn that is open: its events follow. reader: begins with the turn's first TurnInfo."""

    turn_id: str
    reader: EventReader[LogEvent]
    queued: bool


@dataclass(slots=True)
class Replayed:
    """A turn that has ended: its sender gets it from the history."""

    turn: KeptTurn


@dataclass(slots=True)
class Handed:
    """A message that was handed to the running turn. info: that turn."""

    info: TurnInfo


@dataclass
class Admit(Question[Streamed | Replayed | Handed]):
    """Admit a message, or find the turn that an earlier message with its id started."""

    request: SendMessageRequest
    sender: Sender
    seconds: float | None


class Followed(Protocol):
    """What a follower uses of a conversation. It is on the same event loop."""

    log: ConversationLog
    deleted: bool

    async def snapshot(self) -> list[ConversationEvent]:
        """Return the parts of a snapshot. Raises Failure."""


@dataclass
class Follow(Question[Followed]):
    """Return the conversation, whose log the asker follows until its actor, `follower`, ends."""

    follower: ActorRef[object]


@dataclass
class Where(Question[int]):
    """Return the position after which the log has the open turns from their beginning."""


@dataclass
class Stop(Question[TurnInfo]):
    """Stop a turn, or with an empty id all of them; the reply is sent once it has ended."""

    turn_id: str


@dataclass
class Answer(Question[AskClosed]):
    """Answer an ask; the reply is sent once it is settled."""

    answer: AnswerRequest


@dataclass
class Offer(Question[None]):
    """Answer an ask; the reply is sent once the answer is accepted, before the ask is settled."""

    answer: AnswerRequest


@dataclass
class UpdateQueued(Question[TurnInfo]):
    """Change the text or the place of a queued turn; None: as it is."""

    turn_id: str
    text: str | None
    place: int | None


@dataclass
class Update(Question[SessionInfo]):
    """Change the conversation's title or whether it is archived; None: as it is."""

    title: str | None
    archived: bool | None


@dataclass
class Choose(Question[OptionList]):
    """Set an option of the conversation."""

    option_id: str
    value: str


@dataclass
class Delete(Question[None]):
    """End all turns, then delete the conversation."""


@dataclass(slots=True)
class Expire:
    """End a turn with this failure, because its deadline has passed.

    unsent: only if its message has not been sent again since the service was restarted.
    """

    turn_id: str
    failure: Failure
    unsent: bool = False


@dataclass(slots=True)
class StoreEnds:
    """Try again to store the ends of turns that the store could not write."""


@dataclass(slots=True)
class Recover:
    """Continue what was open when the service last ended; sent once at its start."""


@dataclass(slots=True)
class Changed:
    """The backend has changed the conversation by itself: its info, and these options."""

    options: OptionList | None


ConversationQuestion: TypeAlias = (
    Admit | Follow | Where | Stop | Answer | Offer | UpdateQueued | Update | Choose | Delete
)
ConversationMessage: TypeAlias = ConversationQuestion | Expire | StoreEnds | Recover | Changed
