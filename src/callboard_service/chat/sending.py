"""The actor type that sends a message and streams its turn."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias, TypeVar

from actors import (
    ActorRef,
    Askable,
    AskFailed,
    Burst,
    Closes,
    Code,
    EventReader,
    Failure,
    Gap,
    Last,
    LogClosed,
    Opens,
    PushSource,
    Relay,
    Shared,
    StreamActor,
    Texts,
    Timer,
    Undelivered,
    Yielded,
)
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatError,
    ChatToken,
    CommandList,
    HistoryEntry,
    OptionList,
    PlanEvent,
    ReasoningToken,
    SendMessageRequest,
    SessionInfo,
    SteerEvent,
    ToolCallEvent,
    ToolProgressEvent,
    TurnInfo,
    TurnState,
    UsageEvent,
)
from callboard_service.backends.base import ReplyEvent
from callboard_service.backends.journal import TurnJournal
from callboard_service.chat.conversation import Conversation
from callboard_service.chat.ending import INTERRUPTED, final_info
from callboard_service.chat.first_version import of_first_version
from callboard_service.chat.listing import FOLLOW
from callboard_service.chat.log import LogEvent, Single, Tokens, turn_info
from callboard_service.chat.messages import (
    Admit,
    ConversationMessage,
    Handed,
    Offer,
    Replayed,
    Sender,
    Streamed,
)

R = TypeVar("R")

UNSAID: Final = 0.2
"""Seconds that a message waits before its sender is told; a cancelled turn takes a moment."""

ADMISSION: Final = 60.0
"""Seconds that a conversation has to admit a message."""

TOO_SLOW: Final = "the reply has ended, and its rest is no longer kept for a client this slow"

SETTLING: Final = 600.0
"""Seconds that the backend has to accept an answer."""

SendEvent: TypeAlias = ReplyEvent | TurnInfo

_OF_NOTE: Final = frozenset({ChatCompleted, AskEvent, AskClosed})
"""Events of a turn that need more than forwarding."""

_NEW_KINDS: Final = (ToolProgressEvent, PlanEvent, UsageEvent)
"""Events that the first version of the contract does not have."""


async def ask_conversation(
    conversation: ActorRef[ConversationMessage],
    question: Askable[ConversationMessage, R],
    seconds: float,
) -> R:
    """Ask a conversation's actor. Raises Failure: its own, or UNAVAILABLE without an answer."""
    try:
        return await conversation.ask(question, timeout=seconds)
    except (AskFailed, Undelivered) as error:
        message = "the conversation is not responding"
        raise Failure(Code.UNAVAILABLE, message, retryable=True) from error


class SendMessage(StreamActor[SendMessageRequest, SendEvent]):
    """Has a message admitted and streams its turn to the client."""

    ends_if_stalled = True

    def __init__(self, journal: TurnJournal) -> None:
        self._journal = journal
        self._reader: EventReader[LogEvent] | None = None
        self._answers: asyncio.Task[None] | None = None
        self._notice: Timer | None = None
        self._calls: set[str] = set()

    def holds_up(self) -> bool:
        """Return whether the turn waits for this client, and for everybody else that reads it."""
        return self._reader is not None and self._reader.holds_up()

    async def handle(self, request: SendMessageRequest) -> AsyncIterator[Yielded[SendEvent]]:
        """Yield the turn's events, then its end. Raises Failure."""
        context = self.context
        conversation = context.actor(Conversation, request.session_id)
        sender = Sender(context.ref, context.session)
        remaining = None if context.deadline is None else context.deadline - context.clock.now()
        try:
            admitted = await ask_conversation(
                conversation, Admit(request, sender, remaining), ADMISSION
            )
            if isinstance(admitted, Replayed):
                async for item in self._replay(request, admitted):
                    yield item
                return
            if isinstance(admitted, Handed):
                yield Last(admitted.info)
                return
            if request.admit_only:
                first = await admitted.reader.next()
                admitted.reader.close()
                yield Last(_first_info(first, admitted.turn_id))
                return
            shows_turn = bool(request.message_id)
            with self._reading(admitted, shows_turn=shows_turn) as events:
                relay = Relay(events, until=_OF_NOTE)
                yield relay
                while (event := relay.stopped_by) is not None:
                    yield self._noted(event, conversation)
                    if isinstance(event, ChatCompleted):
                        return
                    yield relay
        finally:
            if self._answers is not None:
                self._answers.cancel()
            if self._notice is not None:
                self._notice.cancel()
            sender.ended_by = context.ended_by
            said = context.said
            sender.said = said if isinstance(said, Failure) else None

    @contextmanager
    def _reading(self, admitted: Streamed, *, shows_turn: bool) -> Iterator["TurnEvents"]:
        """Yield the events of the turn that the client gets; they are read within the block."""
        self._reader = admitted.reader
        if admitted.queued and not shows_turn:
            self._notice = self.context.clock.call_later(UNSAID, self._announce_wait)
        try:
            yield TurnEvents(
                admitted.reader,
                admitted.turn_id,
                lambda event: self._shown(event, shows_turn=shows_turn),
            )
        finally:
            admitted.reader.close()

    def _noted(
        self, event: SendEvent, conversation: ActorRef[ConversationMessage]
    ) -> Yielded[SendEvent]:
        """Return an event that needs more than forwarding in the form in which it is yielded."""
        if isinstance(event, AskEvent):
            self._listen(conversation)
            return Opens(event.ask_id, event, AskClosed(ask_id=event.ask_id))
        if isinstance(event, AskClosed):
            return Closes(event.ask_id, event)
        return Last(event)

    def _announce_wait(self) -> None:
        self.context.notice(
            "Another reply in this conversation is in progress; this one is waiting for its turn."
        )

    def _note_state(self, info: TurnInfo) -> None:
        """Withhold the notice that the message waits, once it does not."""
        if self._notice is not None and info.state != TurnState.TURN_STATE_QUEUED:
            self._notice.cancel()

    def _shown(self, event: Single, *, shows_turn: bool) -> SendEvent | None:
        """Return what the client gets for an event of its turn; None: nothing. Raises Failure."""
        payload = event.payload
        match payload:
            case ChatError():
                raise failure_of(payload)
            case TurnInfo():
                self._note_state(payload)
                return turn_info(event, payload) if shows_turn else None
            case SessionInfo() | OptionList() | CommandList() | SteerEvent():
                return None
            case _:
                return self._known(payload)

    def _known(self, event: SendEvent) -> SendEvent | None:
        """Return the event as the client knows it; None if it does not. Remember tool calls."""
        if FOLLOW in self.context.features:
            return event
        if isinstance(event, ToolCallEvent):
            if event.call_id in self._calls:
                return None
            self._calls.add(event.call_id)
        return None if isinstance(event, _NEW_KINDS) else of_first_version(event)

    async def _replay(
        self, request: SendMessageRequest, replayed: Replayed
    ) -> AsyncIterator[Yielded[SendEvent]]:
        """Yield a turn that has ended, from the history, and its end. Raises Failure."""
        turn = replayed.turn
        info = final_info(turn)
        if request.admit_only:
            yield Last(info)
            return
        yield info
        entries = await self._journal.turn_entries(request.session_id, turn.id)
        for entry in entries:
            event = _as_event(entry)
            known = None if event is None else self._known(event)
            if known is not None:
                yield known
        if turn.state == TurnState.TURN_STATE_COMPLETED and turn.completed is not None:
            yield Last(turn.completed)
        elif turn.state == TurnState.TURN_STATE_INTERRUPTED or turn.error is None:
            raise INTERRUPTED.alone()
        else:
            raise failure_of(turn.error)

    # -- answers under the request's id ------------------------------------------------------

    def _listen(self, conversation: ActorRef[ConversationMessage]) -> None:
        """Pass on the answers that the client sends under this request's id."""
        if self._answers is None:
            self._answers = asyncio.get_running_loop().create_task(self._pass_on(conversation))

    async def _pass_on(self, conversation: ActorRef[ConversationMessage]) -> None:
        """Pass on each answer once the one before it was accepted or refused."""
        while True:
            answer = await self.context.received(AnswerRequest)
            try:
                await ask_conversation(conversation, Offer(answer), ADMISSION)
            except Failure as failure:
                if failure.alone().code is Code.INVALID_ARGUMENT:
                    message = "That answer is not one of the options; the question is still open."
                    self.context.notice(message)


class TurnEvents(PushSource[SendEvent]):
    """The events of one turn in the log of its conversation, passed on as they are appended.

    shown: returns what the client gets of an event that is no token; None: nothing.
    """

    def __init__(
        self,
        reader: EventReader[LogEvent],
        turn_id: str,
        shown: Callable[[Single], SendEvent | None],
    ) -> None:
        self._reader = reader
        self._turn_id = turn_id
        self._shown = shown
        self._take: Callable[[SendEvent | Shared[SendEvent]], bool] = _nothing
        self._until: Collection[type] = ()
        self._kept: SendEvent | Burst[SendEvent] | None = None

    async def push(
        self, take: Callable[[SendEvent | Shared[SendEvent]], bool], until: Collection[type]
    ) -> SendEvent | Burst[SendEvent] | None:
        """See PushSource. Raises Failure: the turn's, or why it is cut."""
        self._take, self._until, self._kept = take, until, None
        try:
            await self._reader.pass_to(self._pass_on)
        except Gap:
            raise Failure(Code.RESOURCE_EXHAUSTED, TOO_SLOW, retryable=True) from None
        except LogClosed:
            raise INTERRUPTED.alone() from None
        return self._kept

    def _pass_on(self, event: LogEvent) -> bool:
        if event.turn_id != self._turn_id:
            return True
        if isinstance(event, Tokens):
            if event.message is not None:  # nearly always
                return self._take(event.message)
            if len(event.texts) == 1:
                return self._take(event.kind(text=event.texts[0]))
            self._kept = Burst(Texts(event.kind, event.texts))
            return False
        assert isinstance(event, Single)
        if isinstance(event.payload, TurnInfo) and event.payload.place == 0:
            self._reader.pace()  # it runs now
        shown = self._shown(event)
        if shown is None:
            return True
        if type(shown) in self._until:
            self._kept = shown
            return False
        return self._take(shown)


def _nothing(event: SendEvent | Shared[SendEvent]) -> bool:
    raise AssertionError(event)


def failure_of(error: ChatError) -> Failure:
    """Return an error of the contract as the Failure that ends a request."""
    code = Code.__members__.get(error.code, Code.INTERNAL)
    return Failure(
        code, error.message, retryable=error.retryable, retry_after_ms=error.retry_after_ms
    )


def _first_info(events: list[LogEvent], turn_id: str) -> TurnInfo:
    for event in events:
        if (
            event.turn_id == turn_id
            and isinstance(event, Single)
            and isinstance(event.payload, TurnInfo)
        ):
            return turn_info(event, event.payload)
    raise AssertionError("the first event of a turn is its TurnInfo")


def _as_event(entry: HistoryEntry) -> SendEvent | None:
    """Return an entry of a turn as an event of its stream; None for those that are not replayed."""
    match entry.WhichOneof("entry"):
        case "assistant_text":
            return ChatToken(text=entry.assistant_text) if entry.assistant_text else None
        case "reasoning_text":
            return ReasoningToken(text=entry.reasoning_text)
        case "tool_call":
            return entry.tool_call
        case "tool_result":
            return entry.tool_result
        case _:
            return None
