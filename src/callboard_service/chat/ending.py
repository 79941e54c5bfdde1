"""How the turns of a conversation end: by themselves, by a stop, a deadline or their sender."""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from actors import Code, Down, EndedBy, Exit, Failure
from callboard.v1.chat_pb2 import ChatError, TurnInfo, TurnState
from callboard_service.chat import asks, queueing, starting
from callboard_service.chat.messages import Delete, Sender, Stop
from callboard_service.chat.record import as_entries
from callboard_service.chat.turn import OpenTurn
from callboard_service.store.kept_turns import KeptTurn

if TYPE_CHECKING:
    from callboard_service.chat.conversation import Conversation

CUT_OFF: Final = Failure(Code.CANCELLED, "the reply was cut off before it was complete")
CRASHED: Final = Failure(Code.INTERNAL, "the service failed on this request")
DELETED: Final = Failure(Code.CANCELLED, "the conversation was deleted")
INTERRUPTED: Final = Failure(Code.ABORTED, "the service ended while the reply was being made")

_STATES: Final = {
    Code.CANCELLED: TurnState.TURN_STATE_CANCELLED,
    Code.ABORTED: TurnState.TURN_STATE_INTERRUPTED,
}


def chat_error(failure: Failure) -> ChatError:
    """Return a failure as the contract's message."""
    return ChatError(
        message=failure.message,
        code=failure.code.value,
        retryable=failure.retryable,
        retry_after_ms=failure.retry_after_ms,
    )


async def end(conversation: "Conversation", turn: OpenTurn, down: Down) -> None:
    """Store the end of a turn whose actor has ended, report it, and start the next turn."""
    output = turn.output
    output.over = True
    failure = _failure_of(turn, down)
    closed = asks.closings(turn, failed=failure is not None)
    if output.steers:
        await queueing.queue_unused(conversation, turn)
    following = next(iter(conversation.queue), None)
    if following is not None and not (following.kept.detached or following.senders):
        following = None
    if conversation.deletion is not None:
        following = None
    final = state = TurnState.TURN_STATE_COMPLETED
    if failure is not None:
        final = state = _STATES.get(failure.code, TurnState.TURN_STATE_FAILED)

    async def store(start: str = "", failure: Failure | None = failure) -> None:
        await conversation.journal.end(
            conversation.id,
            turn.id,
            state,
            [*await output.entries(), *as_entries(closed)],
            completed=output.completed if failure is None else None,
            error=None if failure is None else chat_error(failure),
            start=start,
            usage=output.record.usage,
        )

    try:
        await store("" if following is None else following.id)
    except Failure as unstored:
        failure, following = unstored.alone(), None
        final = TurnState.TURN_STATE_FAILED
        conversation.unstored.append(store)
        conversation.retry_later()
    conversation.usage = output.record.usage or conversation.usage
    turn.state = final  # not before it is stored: a snapshot may be made meanwhile
    conversation.remove_turn(turn)
    asks.close_all(conversation, turn, closed)
    _report(conversation, turn, failure)
    if following is not None:
        starting.run(conversation, following)
        conversation.log.add(following.id, following.info())
    for queued in conversation.number_queue():
        conversation.log.add(queued.id, queued.info())
    if following is None:
        with suppress(Failure):  # it stays queued, and the next message tries again
            await conversation.start_next()
    await _after_an_end(conversation)


async def interrupt(conversation: "Conversation", turn: OpenTurn) -> None:
    """Store the end of the running turn, whose actor has ended with its conversation's.

    A turn of which the backend has not said whether it went on keeps running, so that the next
    incarnation asks again. Raises Failure if the store cannot write it.
    """
    if turn.output.resumed:
        return
    turn.output.over = True
    closed = asks.closings(turn, failed=True)
    await conversation.journal.end(
        conversation.id,
        turn.id,
        TurnState.TURN_STATE_INTERRUPTED,
        [*turn.output.record.entries(), *as_entries(closed)],
        error=chat_error(INTERRUPTED),
    )
    asks.close_all(conversation, turn, closed)


async def cancel_queued(conversation: "Conversation", turn: OpenTurn, failure: Failure) -> None:
    """End a turn that has not started. Its message does not enter the history."""
    state = _STATES.get(failure.code, TurnState.TURN_STATE_FAILED)
    with suppress(Failure):  # after a restart it would be cancelled again
        await conversation.journal.end(
            conversation.id, turn.id, state, (), error=chat_error(failure)
        )
    turn.output.over, turn.state, turn.place = True, state, 0
    conversation.remove_turn(turn)
    _report(conversation, turn, failure)
    for queued in conversation.number_queue():
        conversation.log.add(queued.id, queued.info())
    with suppress(Failure):  # it stays queued, and the next message tries again
        await conversation.start_next()  # the turn may have been the one that others waited for
    await _after_an_end(conversation)


async def stop(conversation: "Conversation", turn: OpenTurn, failure: Failure) -> None:
    """Stop a turn; it ends with this failure unless it finishes first."""
    if turn.queued:
        await cancel_queued(conversation, turn, failure)
        return
    if turn.stopping is not None or turn.runner is None:
        return
    turn.stopping = failure
    turn.state = TurnState.TURN_STATE_STOPPING
    turn.runner.kill()
    conversation.log.add(turn.id, turn.info())


async def stop_for(conversation: "Conversation", message: Stop) -> None:
    """Stop the turn that a client names, or all; reply with its state once it has ended.

    Raises Failure: NOT_FOUND if there is no such turn.
    """
    if not message.turn_id:
        for queued in reversed(conversation.queue):
            await stop(conversation, queued, CUT_OFF)
        running = conversation.running
        if running is None:
            message.reply.send(TurnInfo())
            return
        await queueing.drop_unused(conversation, running, chat_error(CUT_OFF))
        turn = running
    elif (found := conversation.turns.get(message.turn_id)) is not None:
        turn = found
    else:
        kept = await conversation.journal.find_turn(conversation.id, turn_id=message.turn_id)
        if kept is None:
            raise Failure(Code.NOT_FOUND, f"there is no turn {message.turn_id[:80]!r}")
        message.reply.send(final_info(kept))
        return
    turn.waiters.append(message.reply)
    await stop(conversation, turn, CUT_OFF)


async def leave(conversation: "Conversation", sender: Sender) -> None:
    """Stop the turn of a request that has ended, if the turn depends on it."""
    turn = conversation.turns.get(sender.turn_id)
    if turn is None:
        return
    turn.senders.discard(sender)
    if turn.kept.detached or sender.ended_by is EndedBy.ANSWER:
        return
    match sender.ended_by:
        case EndedBy.CLIENT:
            await stop(conversation, turn, CUT_OFF)
        case EndedBy.DEADLINE if sender.first:
            await stop(conversation, turn, sender.said or CUT_OFF)
        case EndedBy.DEADLINE:
            pass
        case _ if not turn.senders:
            said = sender.said
            stalled = said is not None and said.code is Code.RESOURCE_EXHAUSTED
            await stop(conversation, turn, said if said is not None and stalled else CUT_OFF)
        case _:
            pass


async def expire(
    conversation: "Conversation", turn_id: str, failure: Failure, *, unsent: bool
) -> None:
    """End a turn whose deadline has passed; `unsent`: only if nobody has sent it again."""
    turn = conversation.turns.get(turn_id)
    if turn is None:
        return
    if not (unsent and (turn.senders or not (turn.queued or turn.resumed))):
        await stop(conversation, turn, failure)


async def delete(conversation: "Conversation", message: Delete) -> None:
    """Stop all turns, and delete the conversation once none is left."""
    if conversation.deletion is not None:
        raise Failure(Code.NOT_FOUND, "the conversation is being deleted")
    conversation.deletion = message
    for turn in reversed(conversation.queue):
        await cancel_queued(conversation, turn, DELETED)
    running = conversation.running
    if running is not None:
        await stop(conversation, running, DELETED)
    await _after_an_end(conversation)


def final_info(turn: KeptTurn) -> TurnInfo:
    """Return the state of a turn that has ended."""
    return TurnInfo(
        id=turn.id,
        message_id=turn.message_id,
        state=turn.state,
        text=turn.text,
        attachments=turn.attachments,
    )


def _failure_of(turn: OpenTurn, down: Down) -> Failure | None:
    """Return what the turn ended with; None if it was completed."""
    output = turn.output
    if output.failure is None and output.completed is not None:
        return None
    if turn.stopping is not None:
        return turn.stopping
    if output.resumed:
        return INTERRUPTED
    if output.failure is not None:
        return output.failure
    if down.exit is Exit.KILLED or down.exit is Exit.SHUTDOWN:
        return INTERRUPTED
    return CRASHED


def _report(conversation: "Conversation", turn: OpenTurn, failure: Failure | None) -> None:
    """Report the end of a turn to its senders, to followers and to those who stopped it."""
    conversation.log.add(turn.id, turn.info())
    completed = turn.output.completed
    if failure is None:
        assert completed is not None
        conversation.log.add(turn.id, completed)
    else:
        conversation.log.add(turn.id, chat_error(failure))
    for reply in turn.waiters:
        reply.send(turn.info())


async def _after_an_end(conversation: "Conversation") -> None:
    """Delete the conversation if that was waited for; else tell followers its new title."""
    deletion = conversation.deletion
    backend = conversation.environment.backend
    if deletion is not None and not conversation.deleted and not conversation.turns:
        try:
            await backend.delete(conversation.id)
        except Failure as failure:
            conversation.deletion = None
            deletion.reply.fail(failure.alone())
        else:
            conversation.deleted = True
            conversation.environment.changes.deleted(conversation.id)
            conversation.log.events.close()
            deletion.reply.send(None)
            conversation.context.stop()
    else:
        await conversation.note_change()
