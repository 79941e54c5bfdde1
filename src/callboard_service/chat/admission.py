"""How a conversation admits a message and starts its turn."""

from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Final

from actors import Code, Failure
from actors.protocol.effects import DEADLINE
from callboard.v1.chat_pb2 import Delivery, SendMessageRequest, TurnState
from callboard_service.chat import ending, queueing, starting
from callboard_service.chat.attaching import unfit
from callboard_service.chat.messages import Admit, Handed, Replayed, Sender, Streamed
from callboard_service.chat.turn import OpenTurn
from callboard_service.store.kept_turns import KeptTurn, NewTurn

if TYPE_CHECKING:
    from callboard_service.chat.conversation import Conversation

MAX_WAITING: Final = 16
"""Turns that may wait in one conversation."""

MAX_ID: Final = 64
"""Characters of an id that a client chooses."""

# Constants, since protobuf looks up a member by a method in Python.
_STEER: Final = Delivery.DELIVERY_STEER
_INTERRUPT: Final = Delivery.DELIVERY_INTERRUPT
_RUNNING: Final = TurnState.TURN_STATE_RUNNING


async def admit(conversation: "Conversation", message: Admit) -> Streamed | Replayed | Handed:
    """Admit a message, or find the turn of an earlier one with its id. Raises Failure.

    The turn's first event in the log is its TurnInfo.
    """
    request, sender, journal = message.request, message.sender, conversation.journal
    refusal = _refusal(conversation, request)
    if refusal is not None or request.attachments:
        known = None
        if request.message_id and len(request.message_id) <= MAX_ID:
            known = await journal.find_turn(conversation.id, message_id=request.message_id)
        if known is not None and request.delivery == _STEER:
            return queueing.sent_again(conversation, known)
        if known is not None:
            return await _known(conversation, known, sender)
        if refusal is not None:
            raise refusal
    await conversation.store_ends()
    seconds = message.seconds
    recent_bytes = conversation.environment.backend.prompt_bytes(conversation.id)
    new = _new_turn(request, seconds, starts=not conversation.turns, recent_bytes=recent_bytes)
    if request.delivery == _STEER:
        return await queueing.steer(conversation, new, request.attachments)
    running = conversation.running
    attachments = conversation.environment.attachments
    admitted = await attachments.admit(conversation.id, new, request.attachments)
    if admitted.repeated:
        return await _known(conversation, admitted.turn, sender)
    conversation.choices = admitted.choices
    if new.replaces:
        conversation.log.removed_at = conversation.log.last
    sender.first = True
    turn = conversation.add_turn(admitted.turn, place=new.place)
    turn.session = sender.session
    streamed = _stream(conversation, turn, sender)
    if seconds is not None:
        conversation.expire_after(turn, seconds, DEADLINE)
    if turn.state == _RUNNING:
        starting.run(conversation, turn, admitted.recent)
    conversation.log.add(turn.id, turn.announced(), turn.kept.text)
    if request.delivery == _INTERRUPT:
        await _interrupt(conversation, running)
    return streamed


async def _interrupt(conversation: "Conversation", running: OpenTurn | None) -> None:
    """Have the message that was admitted, the first of the queue, start now."""
    for moved in conversation.queue[1:]:
        conversation.log.add(moved.id, moved.info())
    if running is not None:
        await ending.stop(conversation, running, ending.CUT_OFF)
    else:  # it may wait before a turn whose message was not sent again
        await conversation.start_next()


def _new_turn(
    request: SendMessageRequest, seconds: float | None, *, starts: bool, recent_bytes: int
) -> NewTurn:
    """Return the turn of a message. seconds: until its deadline; None: it has none."""
    # The request of a message for the running turn is answered at once, so nobody streams it.
    steers = request.delivery == _STEER
    interrupts = request.delivery == _INTERRUPT
    deadline = None
    if seconds is not None and not steers:
        deadline = datetime.now(UTC) + timedelta(seconds=seconds)
    return NewTurn(
        id=token_hex(16),
        text=request.text,
        message_id=request.message_id,
        model=request.model,
        detached=request.detached or request.admit_only or steers,
        deadline_at=deadline,
        replaces=request.replaces,
        starts=starts,
        place=1 if interrupts else 0,
        recent_bytes=recent_bytes,
    )


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
    if not (request.text.strip() or request.attachments):
        return Failure(Code.INVALID_ARGUMENT, "the message has no text")
    if len(request.message_id) > MAX_ID:
        message = f"the message_id is longer than {MAX_ID} characters"
        return Failure(Code.INVALID_ARGUMENT, message)
    if request.replaces and not request.message_id:
        return Failure(Code.INVALID_ARGUMENT, "replaces needs a new message_id")
    if conversation.deletion is not None:
        return Failure(Code.CANCELLED, "the conversation is being deleted")
    running = conversation.running
    handed = 0 if running is None else len(running.output.steers)
    if len(conversation.turns) + handed > MAX_WAITING:
        message = "too many messages are waiting in this conversation"
        return Failure(Code.RESOURCE_EXHAUSTED, message, retryable=True)
    return unfit(request.attachments) or queueing.check_delivery(conversation, request)
