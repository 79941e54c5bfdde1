"""Changes to the queue of a conversation, and messages that are handed to its running turn."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from actors import Code, Failure
from callboard.v1.chat_pb2 import (
    Attachment,
    ChatError,
    Delivery,
    SendMessageRequest,
    SteerEvent,
    TurnInfo,
    TurnState,
)
from callboard_service.chat.messages import Handed, Replayed
from callboard_service.chat.output import steered
from callboard_service.chat.turn import OpenTurn
from callboard_service.store.kept_turns import KeptTurn, NewTurn

if TYPE_CHECKING:
    from callboard_service.chat.conversation import Conversation


def check_delivery(conversation: "Conversation", request: SendMessageRequest) -> Failure | None:
    """Return why the message's delivery is not possible now, or None if it is."""
    running = conversation.running
    match request.delivery:
        case Delivery.DELIVERY_UNSPECIFIED | Delivery.DELIVERY_QUEUE:
            return None
        case Delivery.DELIVERY_STEER | Delivery.DELIVERY_INTERRUPT:
            steers = request.delivery == Delivery.DELIVERY_STEER
            if running is None:
                message = "no turn is running"
            elif request.target_turn and request.target_turn != running.id:
                message = "another turn is running"
            elif steers and "steer" not in conversation.environment.listing.features:
                message = "this backend takes no messages while it replies"
            elif steers and (running.stopping is not None or running.output.over):
                message = "the running turn is ending"
            else:
                return None
            if running is None and not steers:
                return None  # it starts at once
            return Failure(Code.FAILED_PRECONDITION, message)
        case _:
            return Failure(Code.INVALID_ARGUMENT, "there is no such delivery")


async def steer(
    conversation: "Conversation", new: NewTurn, attachments: Sequence[Attachment]
) -> Handed | Replayed:
    """Hand a message to the running turn. Raises Failure, and keeps nothing then.

    It is stored as the next turn, which it becomes unless the running one uses it.
    """
    running = conversation.running
    assert running is not None
    steers, journal = running.output.steers, conversation.journal
    new = replace(new, handed=True, place=len(steers) + 1)
    admitted = await conversation.environment.attachments.admit(conversation.id, new, attachments)
    kept = admitted.turn
    if admitted.repeated:
        return sent_again(conversation, kept)
    name = name_of(kept)
    steers[name] = kept
    message = SteerEvent(message_id=name, text=kept.text, attachments=kept.attachments)
    try:
        await conversation.environment.backend.steer(conversation.id, running.id, message)
    except Failure:
        if steers.pop(name, None) is not None:  # else the turn has used or left it already
            await journal.withdraw(conversation.id, kept.id)
            raise
    return Handed(running.info())


def sent_again(conversation: "Conversation", kept: KeptTurn) -> Handed | Replayed:
    """Return the answer to a message for the running turn that was sent again.

    kept: its turn, or the turn that has used it.
    """
    running = conversation.running
    if running is not None and name_of(kept) in running.output.steers:
        return Handed(running.info())
    opened = conversation.turns.get(kept.id)
    return Replayed(kept) if opened is None else Handed(opened.info())


def take_up(turn: OpenTurn, used: Sequence[KeptTurn], queue: Sequence[KeptTurn]) -> list[KeptTurn]:
    """Give a turn that runs again the messages that were handed to it; return the rest of `queue`.

    used: those that it had used before.
    """
    turn.output.used = {name_of(each): each for each in used}
    turn.output.steers = {name_of(each): each for each in queue if each.handed}
    return [each for each in queue if not each.handed]


async def drop_unused(conversation: "Conversation", turn: OpenTurn, error: ChatError) -> None:
    """Cancel the messages that were handed to a turn and that it has not used."""
    unused, turn.output.steers = [*turn.output.steers.values()], {}
    for kept in unused:
        with suppress(Failure):  # it was used meanwhile, or is cancelled after a restart
            await conversation.journal.end(
                conversation.id, kept.id, TurnState.TURN_STATE_CANCELLED, (), error=error
            )


def name_of(kept: KeptTurn) -> str:
    """Return the name of a message for the turn to which it is handed."""
    return kept.message_id or kept.id


async def queue_unused(conversation: "Conversation", turn: OpenTurn) -> None:
    """Queue the messages that an ending turn has not used: they are the next turns."""
    unused, turn.output.steers = [*turn.output.steers.values()], {}
    place = 1
    for kept in unused:
        try:
            await conversation.journal.update_queued(conversation.id, kept.id, place=place)
        except Failure as failure:
            if failure.code is Code.FAILED_PRECONDITION:  # it was used as the turn was killed
                event = steered(kept)
                turn.output.record.add(event)
                conversation.log.add(turn.id, event)
                continue
        queued = conversation.add_turn(kept, place=place)
        conversation.log.add(queued.id, queued.announced(), kept.text)
        place += 1


async def update_queued(
    conversation: "Conversation", turn_id: str, text: str | None, place: int | None
) -> TurnInfo:
    """Change a queued turn and return its state.

    Raises Failure: NOT_FOUND, INVALID_ARGUMENT, FAILED_PRECONDITION if it is not queued any more.
    """
    turn = conversation.turns.get(turn_id)
    if turn is None and not await conversation.journal.find_turn(conversation.id, turn_id=turn_id):
        raise Failure(Code.NOT_FOUND, f"there is no turn {turn_id[:80]!r}")
    if turn is None or not turn.queued:
        raise Failure(Code.FAILED_PRECONDITION, "the turn is not queued any more")
    if text is not None and not (text.strip() or turn.kept.attachments):
        raise Failure(Code.INVALID_ARGUMENT, "the message has no text")
    running = conversation.running
    hidden = 0 if running is None else len(running.output.steers)
    await conversation.journal.update_queued(
        conversation.id, turn_id, text, None if place is None else place + hidden
    )
    if text is not None:
        turn.kept = replace(turn.kept, text=text)
    if place is not None:
        conversation.move(turn, place)
    moved = conversation.number_queue()
    if text is not None and turn not in moved:
        moved.append(turn)
    for other in moved:
        said = text if other is turn and text is not None else ""
        conversation.log.add(other.id, other.announced() if said else other.info(), said)
    await conversation.start_next()  # another turn may be the first now
    return turn.info(whole=True)
