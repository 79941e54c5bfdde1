"""The conversation that a chat is in: followed, and talked to in whichever session."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar
from uuid import uuid4

from google.protobuf.message import Message

from callboard.v1.chat_pb2 import (
    Attachment,
    Delivery,
    SendMessageRequest,
    SessionInfo,
    TurnInfo,
)
from callboard_service.terminal.asks import Asker
from callboard_service.terminal.connect import Link
from callboard_service.terminal.conversation import Conversation
from callboard_service.terminal.errors import BadCommand
from callboard_service.terminal.feed import Feed
from callboard_service.terminal.live import Line, LiveTurns
from callboard_service.terminal.outages import Outages
from callboard_service.terminal.pages import CALL_TIMEOUT
from callboard_service.terminal.view import Screen
from transport.client import Client
from transport.client.comeback import comes_back
from transport.errors import ConnectionClosed, NotRunning, RequestFailed, SessionLost

M = TypeVar("M", bound=Message)
T = TypeVar("T")


class Room:
    """The current conversation, and the turns in it once it is followed.

    Its methods connect again if the connection was lost for good. They raise NoService,
    ConnectionClosed if the client may not connect again, and RequestFailed.
    """

    def __init__(
        self,
        link: Link,
        conversation: Conversation,
        screen: Screen,
        asker: Asker,
        leave: Callable[[], None],
        line: Line,
    ) -> None:
        self.conversation: Conversation = conversation
        self.outages: Outages = Outages(screen)
        self.client: Client
        self.live: LiveTurns | None = None
        self._link = link
        self._screen = screen
        self._asker = asker
        self._leave = leave
        self._line = line

    async def open(self) -> Client:
        """Return a connected client."""
        self.client = client = await self._link.open()
        return client

    @property
    def running(self) -> str:
        """The id of the turn on the screen; empty if there is none."""
        return "" if self.live is None else self.live.running

    @property
    def features(self) -> frozenset[str]:
        """What the conversation has, of Welcome.features."""
        features = frozenset(self.client.welcome.features)
        info = SessionInfo() if self.live is None else self.live.feed.state.info
        return features & frozenset(info.features) if info.features else features

    def known(self) -> str:
        """Return the id of the conversation. Raises BadCommand if it was not created yet."""
        if not self.conversation.id:
            raise BadCommand("there is no conversation yet; the first message creates it")
        return self.conversation.id

    async def call(self, request: Message, answer: type[M]) -> M:
        """Make a request that may be repeated, and return its answer."""
        return await self.over(lambda client: client.call(request, answer, timeout=CALL_TIMEOUT))

    async def over(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Return what `work` does with a connected client; after a lost connection, do it again."""
        while True:
            try:
                return await work(await self.open())
            except SessionLost:
                pass
            except (ConnectionClosed, NotRunning) as lost:
                check_comes_back(lost)

    async def say(
        self,
        text: str,
        attachments: Sequence[Attachment] = (),
        *,
        delivery: Delivery.ValueType = Delivery.DELIVERY_UNSPECIFIED,
        target: str = "",
        replaces: str = "",
    ) -> None:
        """Have a message admitted, once. The parameters are fields of SendMessageRequest."""
        message_id = str(uuid4())
        while True:
            try:
                live = await self.followed()
                await live.joined()
                request = SendMessageRequest(
                    session_id=self.conversation.id,
                    text=text,
                    message_id=message_id,
                    attachments=attachments,
                    delivery=delivery,
                    target_turn=target,
                    replaces=replaces,
                    admit_only=True,
                )
                info = await live.feed.client.call(request, TurnInfo)
                if delivery != Delivery.DELIVERY_STEER:
                    await live.expect(info)
            except SessionLost:
                pass
            except RequestFailed:
                if self.live is not None:
                    self.live.give_up()
                raise
            except (ConnectionClosed, NotRunning) as lost:
                check_comes_back(lost)
            else:
                return

    async def followed(self) -> LiveTurns:
        """Return the turns of the conversation, followed over a connected client."""
        client = await self.open()
        name = await self.conversation.ensure(client)
        if self.live is None:
            self.live = LiveTurns(
                name,
                Feed(client, name),
                self._screen,
                self._asker,
                self.outages,
                self._leave,
                self._line,
            )
        elif self.live.feed.over or self.live.feed.client is not client:
            await self.live.rejoin(Feed(client, name))
        return self.live

    async def unfollow(self) -> None:
        """Stop following."""
        if self.live is not None:
            await self.live.close()
            self.live = None

    async def move(self, info: SessionInfo) -> None:
        """Go on in another conversation."""
        await self.unfollow()
        self.conversation.enter(self.client, info)
        with suppress(SessionLost):  # the next message follows it
            await self.followed()


def check_comes_back(lost: ConnectionClosed | NotRunning) -> None:
    """Raise the error if the client may not connect again."""
    if isinstance(lost, ConnectionClosed) and not comes_back(lost.code):
        raise lost
