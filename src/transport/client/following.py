"""Following a conversation: its events, merged into its state."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final, TypeAlias, get_args

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatNotice,
    ChatToken,
    ConversationEvent,
    FollowSessionRequest,
    PlanEvent,
    ReasoningToken,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    TurnInfo,
    UsageEvent,
)
from transport.client.conversation_state import ConversationState
from transport.errors import RequestFailed

if TYPE_CHECKING:
    from transport.client.client import Client

TurnAnswer: TypeAlias = (
    ChatToken
    | ReasoningToken
    | ToolCallEvent
    | ToolProgressEvent
    | ToolResultEvent
    | PlanEvent
    | UsageEvent
    | AskEvent
    | AskClosed
    | ChatNotice
    | TurnInfo
    | ChatCompleted
)
"""What a message's stream consists of."""

RETRY_AFTER: Final = 0.5
"""Least seconds between two attempts to follow: without a pause they would be a flood."""

TURN_ANSWERS: Final[tuple[type[TurnAnswer], ...]] = get_args(TurnAnswer)


class Following:
    """A conversation that is being followed. Iterate it once; leaving the iteration ends it.

    Each event is in `state` by the time it is yielded. If the session is lost, following continues
    in the next one, without a gap or with a snapshot.
    """

    def __init__(self, client: "Client", conversation_id: str, after: int) -> None:
        self.state: ConversationState = ConversationState()
        self.state.position = after
        self._client = client
        self._conversation_id = conversation_id

    def __aiter__(self) -> AsyncIterator[ConversationEvent]:
        """Yield the events until the iteration is left.

        Raises RequestFailed (NOT_FOUND once the conversation is deleted), and ConnectionClosed once
        the client is over.
        """
        return self._events()

    async def _events(self) -> AsyncIterator[ConversationEvent]:
        while True:
            await self._client.ready()
            request = FollowSessionRequest(
                session_id=self._conversation_id, after=self.state.position
            )
            try:
                async with self._client.stream(request, ConversationEvent) as events:
                    async for event in events:
                        self.state.apply(event)
                        yield event
            except RequestFailed as failed:
                await self._client.until_retry(failed)
