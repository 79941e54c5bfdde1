"""The actor types that follow a conversation, stop its turns and answer its asks."""

from collections.abc import AsyncIterator
from typing import Final

from actors import Burst, Code, Failure, Gap, LogClosed, RequestActor, StreamActor, Yielded
from callboard.v1.chat_pb2 import (
    AnswerAskRequest,
    AskClosed,
    ConversationEvent,
    FollowSessionRequest,
    StopTurnRequest,
    TurnInfo,
)
from callboard_service.chat.conversation import Conversation
from callboard_service.chat.messages import Answer, Follow, Stop
from callboard_service.chat.sending import ADMISSION, SETTLING, ask_conversation

STOPPING: Final = 10.0
"""Seconds that a turn has to end once it is stopped."""


class FollowSession(StreamActor[FollowSessionRequest, ConversationEvent]):
    """Streams a conversation's events, with a snapshot in place of what is missing."""

    endless = True

    async def handle(
        self, request: FollowSessionRequest
    ) -> AsyncIterator[Yielded[ConversationEvent]]:
        """Yield events until cancelled. Raises Failure: NOT_FOUND, also once it is deleted."""
        ref = self.context.actor(Conversation, request.session_id)
        after = request.after
        while True:
            conversation = await ask_conversation(ref, Follow(self.context.ref), ADMISSION)
            reader = conversation.log.reader(after)
            try:
                while True:
                    position = reader.position
                    try:
                        events = await reader.next()
                        if position <= conversation.log.removed_at:
                            raise Gap
                    except LogClosed:
                        break
                    except Gap:
                        parts = await conversation.snapshot()
                        # The position of the parts, not of what came while the first were sent.
                        reader.close()
                        reader = conversation.log.reader(parts[0].position)
                        yield Burst(parts)
                    else:
                        yield Burst(conversation.log.shared(events))
            finally:
                reader.close()
            if conversation.deleted:
                message = f"there is no conversation {request.session_id[:80]!r}"
                raise Failure(Code.NOT_FOUND, message)
            after = 0  # the next incarnation has a new log


class StopTurn(RequestActor[StopTurnRequest, TurnInfo]):
    """Stops a turn, whoever started it."""

    beyond_limit = True

    async def handle(self, request: StopTurnRequest) -> TurnInfo:
        """Return the turn's final state. Raises Failure: NOT_FOUND, or UNAVAILABLE after 10 s."""
        ref = self.context.actor(Conversation, request.session_id)
        return await ask_conversation(ref, Stop(request.turn_id), STOPPING)


class AnswerAsk(RequestActor[AnswerAskRequest, AskClosed]):
    """Answers an ask from any session."""

    beyond_limit = True

    async def handle(self, request: AnswerAskRequest) -> AskClosed:
        """Return what settled the ask. Raises Failure: NOT_FOUND, INVALID_ARGUMENT."""
        ref = self.context.actor(Conversation, request.session_id)
        return await ask_conversation(ref, Answer(request.answer), SETTLING)
