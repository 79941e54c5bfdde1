"""How a conversation admits a message and starts its turn."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from actors import Code, Failure, Lifecycle, Restart
from actors.protocol.effects import DEADLINE
from callboard.v1.chat_pb2 import Delivery, SendMessageRequest, TurnState
from callboard_service.backends.base import Prompt
from callboard_service.chat.messages import Admit, Replayed, Sender, Streamed
from callboard_service.chat.runner import TurnRunner
from callboard_service.chat.turn import OpenTurn
from callboard_service.store.turns import KeptTurn, NewTurn

if TYPE_CHECKING:
    from callboard_service.chat.conversation import Conversation

MAX_WAITING: Final = 16
"""Turns that may wait in one conversation."""

MAX_ID: Final = 64
"""Characters of an id that a client chooses."""

# A reply that runs when its conversation stops is interrupted: nothing is gained by waiting.
_RUNNER: Final = Lifecycle(restart=Restart.TEMPORARY, shutdown=0.0)
_UNBUILT: Final = ("attachments", "target_turn")
"""Fields of SendMessageRequest that this service does not support.

A request that sets one is refused: ignoring it would break what the client relies on.
"""


async def admit(conversation: "Conversation", message: Admit) -> Streamed | Replayed:
    """Admit a message, or find the turn of an earlier one with its id. Raises Failure.

    The turn's first event in the log is its TurnInfo.
    """
    request, sender, journal = message.request, message.sender, conversation.journal
    refusal = _refusal(conversation, request)
    if refusal is not None:
        known = None
        if request.message_id and len(request.message_id) <= MAX_ID:
            known = await journal.find_turn(conversation.id, message_id=request.message_id)
        if known is None:
            raise refusal
        return await _known(conversation, known, sender)
    await conversation.store_ends()
    seconds = message.seconds
    now = datetime.now(UTC)
    admitted = await journal.admit(
        conversation.id,
        NewTurn(
            id=uuid4().hex,
            text=request.text,
            message_id=request.message_id,
            model=request.model,
            detached=request.detached or request.admit_only,
            deadline_at=None if seconds is None else now + timedelta(seconds=seconds),
            replaces=request.replaces,
            starts=not conversation.turns,
        ),
    )
    if admitted.repeated:
        return await _known(conversation, admitted.turn, sender)
    sender.first = True
    turn = conversation.add_turn(admitted.turn)
    turn.session = sender.session
    streamed = _stream(conversation, turn, sender)
    if seconds is not None:
        conversation.expire_after(turn, seconds, DEADLINE)
    if turn.state == TurnState.TURN_STATE_RUNNING:
        run(conversation, turn)
    conversation.log.add(turn.id, turn.info(), turn.kept.text)
    return streamed


def run(conversation: "Conversation", turn: OpenTurn) -> None:
    """Start the actor that runs a turn, which the store has as RUNNING."""
    environment = conversation.environment
    prompt = Prompt(
        conversation_id=conversation.id,
        text=turn.kept.text,
        model=turn.kept.model,
        answered=turn.output.answers.get,
        log=environment.log.bind(conversation=conversation.id, turn=turn.id),
        session=turn.session,
        turn_id=turn.id,
        resumed=turn.resumed,
    )
    turn.state, turn.place = TurnState.TURN_STATE_RUNNING, 0
    turn.runner = conversation.context.spawn(
        lambda: TurnRunner(environment.backend, prompt, turn.output, environment.available),
        name=turn.id,
        lifecycle=_RUNNER,
    )
    conversation.context.watch(turn.runner)


async def _known(
    conversation: "Conversation", kept: KeptTurn, sender: Sender
) -> Streamed | Replayed:
    turn = conversation.turns.get(kept.id)
    if turn is None:
        return Replayed(kept)
    streamed = _stream(conversation, turn, sender)
    turn.session = turn.session or sender.session
    await conversation.start_next()  # it may have waited for its message to be sent again
    return streamed


def _stream(conversation: "Conversation", turn: OpenTurn, sender: Sender) -> Streamed:
    conversation.add_sender(turn, sender)
    # A message that waits reads only its own turn's events; the turn that runs is not for it.
    reader = conversation.log.reader(turn.begun, paces=not turn.queued)
    return Streamed(turn.id, reader, turn.queued)


def _refusal(conversation: "Conversation", request: SendMessageRequest) -> Failure | None:
    """Return why a new message is not admitted; None if it is."""
    for field in _UNBUILT:
        if getattr(request, field):
            return unimplemented(field)
    if request.delivery not in (Delivery.DELIVERY_UNSPECIFIED, Delivery.DELIVERY_QUEUE):
        return unimplemented("delivery")
    if not request.text.strip():
        return Failure(Code.INVALID_ARGUMENT, "the message has no text")
    if len(request.message_id) > MAX_ID:
        message = f"the message_id is longer than {MAX_ID} characters"
        return Failure(Code.INVALID_ARGUMENT, message)
    if request.replaces and not request.message_id:
        return Failure(Code.INVALID_ARGUMENT, "replaces needs a new message_id")
    if conversation.deletion is not None:
        return Failure(Code.CANCELLED, "the conversation is being deleted")
    if len(conversation.turns) > MAX_WAITING:
        message = "too many messages are waiting in this conversation"
        return Failure(Code.RESOURCE_EXHAUSTED, message, retryable=True)
    return None


def unimplemented(field: str) -> Failure:
    """Return the failure of a request with a field that this service does not support."""
    return Failure(Code.UNIMPLEMENTED, f"this service does not support the field {field}")
