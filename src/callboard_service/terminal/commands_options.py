"""The commands that choose a model, a mode or an effort."""

from callboard.v1.chat_pb2 import (
    ListOptionsRequest,
    OptionChoice,
    OptionList,
    SessionOption,
    SetOptionRequest,
)
from callboard_service.terminal.errors import BadCommand
from callboard_service.terminal.room import Room
from callboard_service.terminal.slash import bad_form, choose
from callboard_service.terminal.text import one_line
from callboard_service.terminal.view import Screen

_MODEL = "model"


class Options:
    """/model, /options and /set."""

    def __init__(self, room: Room, screen: Screen) -> None:
        self._room = room
        self._screen = screen

    async def model(self, rest: str) -> None:
        """List the models, or choose one."""
        listed = await self._list()
        models = [o for o in listed if o.category == SessionOption.CATEGORY_MODEL]
        models = models or [o for o in listed if o.id == _MODEL]
        if not models:
            raise BadCommand("there is no choice of models here")
        await self._show_or_choose(models[0], rest)

    async def options(self, rest: str) -> None:
        """List all options with their values."""
        if rest:
            raise bad_form("options")
        rows = []
        for option in await self._list():
            others = ", ".join(_name(choice) for choice in option.choices)
            rows.append((one_line(option.id, 40), _current(option), one_line(f"of {others}")))
        if not rows:
            raise BadCommand("there is nothing to choose here")
        self._screen.table(rows)

    async def set(self, rest: str) -> None:
        """List the values of an option, or choose one."""
        typed, _, value = rest.partition(" ")
        if not typed:
            raise bad_form("set")
        listed = await self._list()
        position = choose(typed, [o.id for o in listed], [o.name for o in listed], "option")
        await self._show_or_choose(listed[position], value.strip())

    async def _list(self) -> list[SessionOption]:
        request = ListOptionsRequest(session_id=self._room.conversation.id)
        return list((await self._room.call(request, OptionList)).options)

    async def _show_or_choose(self, option: SessionOption, typed: str) -> None:
        if not typed:
            self._show(option)
            return
        values = [choice.value for choice in option.choices]
        names = [choice.name for choice in option.choices]
        value = values[choose(typed, values, names, one_line(option.name or option.id, 40))]
        await self._room.followed()  # creates the conversation, if there is none yet
        request = SetOptionRequest(
            session_id=self._room.conversation.id, option_id=option.id, value=value
        )
        changed = await self._room.call(request, OptionList)
        now = next((o for o in changed.options if o.id == option.id), option)
        self._screen.line(f"{one_line(option.id, 40)}: {_current(now)}")

    def _show(self, option: SessionOption) -> None:
        rows = []
        for n, choice in enumerate(option.choices, 1):
            mark = "*" if choice.value == option.current else " "
            size = f"{choice.context_size:,} tokens" if choice.context_size else ""
            about = "; ".join(filter(None, (one_line(choice.description), size)))
            rows.append((f"{mark}{n}.", one_line(choice.value, 40), _name(choice), about))
        if not rows:
            raise BadCommand(f"there is no choice of {one_line(option.name or option.id, 40)}")
        self._screen.table(rows)


def _name(choice: OptionChoice) -> str:
    return one_line(choice.name or choice.value, 40)


def _current(option: SessionOption) -> str:
    for choice in option.choices:
        if choice.value == option.current:
            return _name(choice)
    return one_line(option.current, 40) or "(not set)"
