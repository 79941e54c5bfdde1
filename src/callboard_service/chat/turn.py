"""A turn that has not ended, as its conversation's actor keeps it. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass, field

from actors import ActorRef, Failure, Reply
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    AskClosed,
    AskEvent,
    TurnInfo,
    TurnState,
)
from callboard_service.chat.messages import Sender
from callboard_service.chat.output import TurnOutput
from callboard_service.store.kept_turns import KeptTurn


@dataclass(eq=False)
class OpenTurn:
    """A turn that is queued, running or waiting.

    begun: the position before its first event. runner: the actor that runs it; None while it is
    queued. resumed: it was running when the service ended. stopping: why it was stopped. timers:
    what cancels its deadlines. waiters: who is told of its end. settling: for each ask with an
    accepted answer, who is told of its AskClosed.
    """

    kept: KeptTurn
    begun: int
    output: TurnOutput
    state: TurnState.ValueType = TurnState.TURN_STATE_QUEUED
    place: int = 0
    runner: ActorRef[object] | None = None
    resumed: bool = False
    stopping: Failure | None = None
    session: str = ""
    senders: set[Sender] = field(default_factory=set)
    timers: list[Callable[[], None]] = field(default_factory=list)
    waiters: list[Reply[TurnInfo]] = field(default_factory=list)
    settling: dict[str, list[Reply[AskClosed]]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The turn's id."""
        return self.kept.id

    @property
    def queued(self) -> bool:
        """Whether it has not started."""
        return self.runner is None

    def announced(self) -> TurnInfo:
        """Return its state with the attachments of its message; the text is added by the log."""
        info = self.info()
        info.attachments.extend(self.kept.attachments)
        return info

    def info(self, *, whole: bool = False) -> TurnInfo:
        """Return its state. whole: with the user's message."""
        info = TurnInfo(
            id=self.kept.id,
            message_id=self.kept.message_id,
            state=self.state,
            place=self.place,
        )
        if whole:
            info.text = self.kept.text
            info.attachments.extend(self.kept.attachments)
        return info


def fits(ask: AskEvent, answer: AnswerRequest) -> bool:
    """Return whether the ask allows this answer. An empty one, which declines, is always allowed.

    More than one answer requires `multiple`. A permission must be answered with its options; a
    question may be answered with free text, which the backend may accept or reject.
    """
    if len(answer.answers) > 1 and not ask.multiple:
        return False
    if ask.kind != AskEvent.KIND_PERMISSION:
        return True
    return all(chosen in ask.options for chosen in answer.answers)
