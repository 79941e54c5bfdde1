"""What agents change by themselves in conversations: it is stored, and then told to clients."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from actors import Failure
from callboard.v1.chat_pb2 import OptionList
from callboard_service.backends.acp.choosing import Choosing
from callboard_service.backends.acp.titles import give_title
from callboard_service.backends.stored import StoredConversations

if TYPE_CHECKING:
    from callboard_service.backends.base import TellChange


class News:
    """Takes changes, and stores them in the order in which they come.

    options: returns those of a conversation. `tell`: what is told once they are stored.
    """

    def __init__(
        self,
        turns: StoredConversations,
        choosing: Choosing,
        options: Callable[[str], Awaitable[OptionList]],
    ) -> None:
        self.tell: TellChange = _nothing
        self._turns = turns
        self._choosing = choosing
        self._options = options
        self._order = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, conversation_id: str) -> "ConversationNews":
        """Return what takes the changes of one conversation."""
        return ConversationNews(self, conversation_id)

    def later(self, change: Coroutine[None, None, None]) -> None:
        """Carry out a change after the earlier ones."""
        task = asyncio.create_task(self._carry_out(change))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def retitle(self, conversation_id: str, title: str) -> None:
        """Give a conversation a title, unless it has one of its own. Raises Failure."""
        if await give_title(self._turns, conversation_id, title):
            self.tell(conversation_id)

    async def change(self, conversation_id: str, changes: Mapping[str, tuple[str, str]]) -> None:
        """Keep options that have changed. Raises Failure."""
        await self._choosing.keep_changes(conversation_id, changes)
        self.tell(conversation_id, await self._options(conversation_id))

    async def _carry_out(self, change: Coroutine[None, None, None]) -> None:
        async with self._order:
            with suppress(Failure):  # the conversation was deleted, or the store is closed
                await change


class ConversationNews:
    """Takes the changes of one conversation; see `Listener`."""

    def __init__(self, news: News, conversation_id: str) -> None:
        self._news = news
        self._conversation_id = conversation_id

    def titled(self, title: str) -> None:
        """Take the title that the agent gives to the conversation."""
        self._news.later(self._news.retitle(self._conversation_id, title))

    def changed(self, changes: Mapping[str, tuple[str, str]]) -> None:
        """Take the values before and after, by option; there may be none, but other choices."""
        self._news.later(self._news.change(self._conversation_id, changes))


def _nothing(conversation_id: str, options: OptionList | None = None) -> None:
    pass
