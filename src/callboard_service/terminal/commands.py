"""Carries out the commands of a chat: lines that begin with "/"."""

from collections.abc import Awaitable, Callable
from typing import Final

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import (
    CommandList,
    ListCommandsRequest,
    SessionInfo,
    UpdateSessionRequest,
)
from callboard_service.terminal.attaching import Tray, tray_rows
from callboard_service.terminal.commands_copy import Copies
from callboard_service.terminal.commands_options import Options
from callboard_service.terminal.commands_queue import Queue
from callboard_service.terminal.errors import BadCommand
from callboard_service.terminal.export import title
from callboard_service.terminal.layout import attachment_text
from callboard_service.terminal.prompts import Prompts
from callboard_service.terminal.room import Room
from callboard_service.terminal.slash import (
    ESCAPED,
    NAMES,
    USAGES,
    Slash,
    bad_form,
    feature_of,
    number,
)
from callboard_service.terminal.text import one_line
from callboard_service.terminal.view import Screen
from transport.errors import RequestFailed

Command = Callable[[str], Awaitable[None]]
"""Takes what follows the command's name. Raises BadCommand, RequestFailed and what Room does."""

_DROP: Final = "drop"


class Commands:
    """The commands of one chat. tray: the files for the next message."""

    def __init__(self, room: Room, screen: Screen, prompts: Prompts, tray: Tray) -> None:
        self._room = room
        self._screen = screen
        self._tray = tray
        queue = Queue(room, screen, tray)
        copies = Copies(room, screen, prompts, tray)
        options = Options(room, screen)
        self._commands: dict[str, Command] = {
            "help": self._help,
            "queue": queue.queue,
            "steer": queue.steer,
            "interrupt": queue.interrupt,
            "fork": copies.fork,
            "edit": copies.edit,
            "retry": copies.retry,
            "rename": self._rename,
            "archive": self._archive,
            "model": options.model,
            "options": options.options,
            "set": options.set,
            "attach": self._attach,
        }
        assert tuple(self._commands) == NAMES

    async def run(self, slash: Slash) -> bool:
        """Carry out a command of ours; return False if it is one of the backend's, to be sent.

        Raises BadCommand if it is neither, or cannot be carried out, and what Room does.
        """
        command = self._commands.get(slash.name)
        if command is None:
            if any(slash.name == name for name, _ in await self._backends()):
                return False
            raise BadCommand(
                f"there is no command /{one_line(slash.name, 40)}: /help lists them, "
                'and "//" begins a text with "/"'
            )
        feature = feature_of(slash.name)
        if feature and feature not in self._room.features:
            raise BadCommand(f"/{slash.name} is not possible here: no feature {feature!r}")
        try:
            await command(slash.rest)
        except RequestFailed as failed:
            if failed.code is Code.UNIMPLEMENTED:
                reason = one_line(failed.message)
                raise BadCommand(f"/{slash.name} is not possible here: {reason}") from failed
            raise
        return True

    async def _backends(self) -> list[tuple[str, str]]:
        """Return the backend's commands, without the slash, and what they do."""
        if "commands" not in self._room.features:
            return []
        request = ListCommandsRequest(session_id=self._room.conversation.id)
        listed = await self._room.call(request, CommandList)
        return [
            (
                command.name.removeprefix("/"),
                " — ".join(filter(None, (command.hint, command.description))),
            )
            for command in listed.commands
            if command.name.removeprefix("/") not in NAMES
        ]

    async def _help(self, rest: str) -> None:
        if rest:
            raise bad_form("help")
        features = self._room.features
        ours = [(u.form, u.about) for u in USAGES if not u.feature or u.feature in features]
        backends = [
            (f"/{one_line(name, 40)}", one_line(about)) for name, about in await self._backends()
        ]
        self._screen.table([*ours, ESCAPED])
        if backends:
            self._screen.line(f"sent to {one_line(self._room.client.welcome.backend)}:")
            self._screen.table(backends)

    async def _rename(self, rest: str) -> None:
        if not rest:
            raise bad_form("rename")
        request = UpdateSessionRequest(session_id=self._room.known(), title=rest)
        info = await self._room.call(request, SessionInfo)
        self._screen.line(f"renamed: {title(info)}")

    async def _archive(self, rest: str) -> None:
        if rest:
            raise bad_form("archive")
        request = UpdateSessionRequest(session_id=self._room.known(), archived=True)
        info = await self._room.call(request, SessionInfo)
        self._screen.line("archived; this brings it back:")
        self._screen.line(f"  callboard sessions unarchive {one_line(info.id)}")

    async def _attach(self, rest: str) -> None:
        items = self._tray.items
        word, _, typed = rest.partition(" ")
        if not rest:
            if not items:
                self._screen.line("nothing is attached to the next message")
            self._screen.table(tray_rows(items))
        elif word == _DROP and typed:
            item = items.pop(number("attach", typed.strip(), len(items), "attached files") - 1)
            self._screen.line(f"left out: {attachment_text(item.described())}")
        elif word == _DROP:
            raise bad_form("attach")
        else:
            item = self._tray.add(rest)
            shown = f"{attachment_text(item.described())} {one_line(item.media_type, 60)}"
            self._screen.line(f"for the next message: {shown}")
