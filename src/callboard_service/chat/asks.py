"""The asks of a conversation's running turn: any client may answer them, once."""

from contextlib import suppress
from typing import TYPE_CHECKING

from actors import Code, Failure
from callboard.v1.chat_pb2 import AnswerRequest, AskClosed, ToolResultEvent, TurnState
from callboard_service.chat.messages import Answer
from callboard_service.chat.turn import OpenTurn, fits
from callboard_service.store.pieces import CUT_OFF

if TYPE_CHECKING:
    from callboard_service.chat.conversation import Conversation


async def take_answer(conversation: "Conversation", message: Answer) -> None:
    """Pass the first answer that an ask allows to the backend; reply once the ask is settled.

    Raises Failure: INVALID_ARGUMENT for an answer that it does not allow, NOT_FOUND if there never
    was such an ask.
    """
    answer = message.answer
    turn = offer(conversation, answer)
    if turn is not None:
        turn.settling[answer.ask_id].append(message.reply)
        return
    closed = _closed(conversation, answer.ask_id)
    if closed is None:
        closed = await conversation.journal.find_ask_closed(conversation.id, answer.ask_id)
    if closed is None:
        raise Failure(Code.NOT_FOUND, f"there is no ask {answer.ask_id[:80]!r}")
    message.reply.send(closed)


def offer(conversation: "Conversation", answer: AnswerRequest) -> OpenTurn | None:
    """Pass the first answer that an open ask allows to the backend; return the ask's turn.

    Returns None if no such ask is open. Raises Failure: INVALID_ARGUMENT for an answer that the ask
    does not allow.
    """
    for turn in conversation.turns.values():
        ask = turn.output.record.asks.get(answer.ask_id)
        if ask is None:
            continue
        if answer.ask_id not in turn.settling:
            if not fits(ask, answer):
                raise Failure(Code.INVALID_ARGUMENT, "that answer is not one of the options")
            turn.settling[answer.ask_id] = []
            turn.output.answers.put_nowait(answer)
        return turn
    return None


def _closed(conversation: "Conversation", ask_id: str) -> AskClosed | None:
    """Return how an ask of an open turn was settled; None if it was not."""
    for turn in conversation.turns.values():
        if (closed := turn.output.record.closed.get(ask_id)) is not None:
            return closed
    return None


async def changed(conversation: "Conversation", turn: OpenTurn) -> None:
    """Update the turn's state and reply to those who answered, after an ask was opened or closed.

    Called by the actor that runs the turn, before it goes on.
    """
    record = turn.output.record
    settle(turn)
    if turn.state not in (TurnState.TURN_STATE_RUNNING, TurnState.TURN_STATE_WAITING):
        return
    state = TurnState.TURN_STATE_WAITING if record.asks else TurnState.TURN_STATE_RUNNING
    if state != turn.state:
        turn.state = state
        with suppress(Failure):  # the next transaction of this turn reports it
            await conversation.journal.set_state(conversation.id, turn.id, state)
        if not turn.output.over:
            conversation.log.add(turn.id, turn.info())
            await conversation.note_change()


def settle(turn: OpenTurn) -> None:
    """Reply to those who answered asks that are settled now."""
    for ask_id in list(turn.settling):
        closed = turn.output.record.closed.get(ask_id)
        if closed is not None:
            for reply in turn.settling.pop(ask_id):
                reply.send(closed)


def closings(turn: OpenTurn, *, failed: bool) -> list[ToolResultEvent | AskClosed]:
    """Return the events that close what is open when the turn ends.

    These are the asks and, if the turn was stopped or has `failed`, the tool calls.
    """
    record = turn.output.record
    calls = record.calls if failed else ()
    return [
        *(ToolResultEvent(call_id=one, output=CUT_OFF, is_error=True) for one in calls),
        *(AskClosed(ask_id=ask_id) for ask_id in record.asks),
    ]


def close_all(
    conversation: "Conversation", turn: OpenTurn, closed: list[ToolResultEvent | AskClosed]
) -> None:
    """Close what was open, also for those who answered an ask in vain."""
    for event in closed:
        turn.output.record.add(event)
        conversation.log.add(turn.id, event)
    settle(turn)
