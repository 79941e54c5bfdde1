"""The commands that go on in a copy of the conversation, or answer a message again."""

from contextlib import aclosing
from functools import partial
from uuid import uuid4

from callboard.v1.chat_pb2 import ForkSessionRequest, SessionInfo
from callboard_service.terminal.attaching import Item, Tray, fetch
from callboard_service.terminal.errors import BadCommand
from callboard_service.terminal.export import title
from callboard_service.terminal.pages import Sent, sent_messages
from callboard_service.terminal.prompts import Prompts
from callboard_service.terminal.room import Room
from callboard_service.terminal.slash import bad_form, number
from callboard_service.terminal.view import Screen

_MOST = 10_000


class Copies:
    """/fork, /edit and /retry."""

    def __init__(self, room: Room, screen: Screen, prompts: Prompts, tray: Tray) -> None:
        self._room = room
        self._screen = screen
        self._prompts = prompts
        self._tray = tray

    async def fork(self, rest: str) -> None:
        """Go on in a copy, of everything or up to a message."""
        self._check_idle("fork")
        count = number("fork", rest, _MOST, "messages") if rest else 0
        sent = await self._message(count) if count else None
        info = await self._copy(sent)
        without = {0: "", 1: ", without the last message"}
        missing = without.get(count, f", without the last {count} messages")
        self._screen.line(f"in a copy now{missing}: {title(info)}")
        self._screen.recall(await self._room.conversation.recall(self._room.client))

    async def edit(self, rest: str) -> None:
        """Go on in a copy without the last message, and send another one in its place."""
        self._check_idle("edit")
        sent = await self._message(1)
        files = await self._files(sent)
        info = await self._copy(sent)
        self._screen.line(f"in a copy now, without the last message: {title(info)}")
        self._tray.items[:0] = files
        if rest:
            await self._say(rest)
        else:
            self._prompts.draft(sent.entry.user_text)

    async def retry(self, rest: str) -> None:
        """Have the last message answered again: in its place if it failed, else in a copy."""
        if rest:
            raise bad_form("retry")
        self._check_idle("retry")
        sent = await self._message(1)
        if not sent.failed and "fork" not in self._room.features:
            raise BadCommand("only a reply that failed can be made again here: no feature 'fork'")
        self._tray.items[:0] = await self._files(sent)
        if not sent.failed:
            info = await self._copy(sent)
            self._screen.line(f"in a copy now: {title(info)}")
        self._screen.message(sent.entry.user_text, sent.entry.attachments)
        await self._say(sent.entry.user_text, sent.entry.turn_id if sent.failed else "")

    def _check_idle(self, name: str) -> None:
        self._room.known()
        if self._room.running:
            raise BadCommand(f"a reply runs: stop it with Ctrl-C before /{name}")

    async def _message(self, count: int) -> Sent:
        """Return the `count`-th last message of the user. Raises BadCommand."""
        client = await self._room.open()
        found = 0
        async with aclosing(sent_messages(client, self._room.known())) as messages:
            async for sent in messages:
                found += 1
                if found == count:
                    return sent
        if not found:
            raise BadCommand("there is no message yet")
        raise BadCommand(
            f"there are only {found} messages" if found > 1 else "there is only one message"
        )

    async def _copy(self, sent: Sent | None) -> SessionInfo:
        """Copy the conversation, up to a message, and go on in the copy."""
        request = ForkSessionRequest(
            session_id=self._room.known(),
            before="" if sent is None else sent.entry.id,
            create_id=str(uuid4()),
        )
        info = await self._room.call(request, SessionInfo)
        await self._room.move(info)
        return info

    async def _files(self, sent: Sent) -> list[Item]:
        name = self._room.known()
        return [
            await self._room.over(partial(fetch, name, attached))
            for attached in sent.entry.attachments
        ]

    async def _say(self, text: str, replaces: str = "") -> None:
        attachments = await self._room.over(partial(self._tray.load, text))
        await self._room.say(text, attachments, replaces=replaces)
        self._tray.items.clear()
