"""What can be chosen in an agent's session: its mode, model and other options. No I/O.

An agent may tell them in three forms: `configOptions`, and the older `modes` and `models`. The
older ones are used where the first one lacks them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from callboard.v1.chat_pb2 import OptionChoice, OptionList, SessionOption
from callboard_service.backends.fields import Table, name, number, table, tables, text

CONFIGURE: Final = "session/set_config_option"
"""Its answer has the whole list of options."""

MODE: Final = "mode"
MODEL: Final = "model"

MAX_OPTIONS: Final = 50
MAX_DESCRIPTION: Final = 500
"""Characters of the description of a choice."""

MAX_CHOICES: Final = 56 * 1024
"""Bytes of all choices that are shown; a snapshot leaves out lists of more than 64 KiB."""

_CATEGORIES: Final = {
    "mode": SessionOption.CATEGORY_MODE,
    "model": SessionOption.CATEGORY_MODEL,
    "thought_level": SessionOption.CATEGORY_EFFORT,
}


@dataclass(frozen=True, slots=True)
class Setting:
    """The request that sets an option; the session's id must be added to `params`."""

    method: str
    params: Table


@dataclass(slots=True)
class AgentOption:
    """An option. choices: all of them, also those that are too many to be shown."""

    id: str
    name: str
    category: SessionOption.Category.ValueType
    current: str
    choices: Mapping[str, OptionChoice]
    method: str
    boolean: bool = False

    @property
    def essential(self) -> bool:
        """Whether no prompt may be sent with another value than the chosen one."""
        return self.category in (SessionOption.CATEGORY_MODE, SessionOption.CATEGORY_MODEL)

    def setting(self, value: str) -> Setting:
        """Return how to choose this value."""
        match self.method:
            case "session/set_mode":
                params: Table = {"modeId": value}
            case "session/set_model":
                params = {"modelId": value}
            case _ if self.boolean:
                params = {"configId": self.id, "type": "boolean", "value": value == "true"}
            case _:
                params = {"configId": self.id, "value": value}
        return Setting(self.method, params)


class Options:
    """The options of one session, as the agent has told them last."""

    def __init__(self) -> None:
        self._configured: list[AgentOption] = []
        self._older: dict[str, AgentOption] = {}

    def find(self, option_id: str) -> AgentOption | None:
        """Return an option; None if there is none with this id."""
        return next((one for one in self.all() if one.id == option_id), None)

    def of(self, category: SessionOption.Category.ValueType) -> AgentOption | None:
        """Return the first option of a category; None if there is none."""
        return next((one for one in self.all() if one.category == category), None)

    def all(self) -> list[AgentOption]:
        """Return the options, the older forms last."""
        known = {one.category for one in self._configured} | {one.id for one in self._configured}
        older = [
            one for one in self._older.values() if one.category not in known and one.id not in known
        ]
        return [*self._configured, *older]

    def current(self) -> dict[str, str]:
        """Return the current values by option."""
        return {one.id: one.current for one in self.all()}

    def take_state(self, state: Table) -> None:
        """Take an answer of the agent: the whole list of what it tells; the rest stays as it is."""
        if isinstance(state.get("configOptions"), list):
            listed = map(_configured, tables(state, "configOptions")[:MAX_OPTIONS])
            self._configured = [one for one in listed if one is not None]
        if modes := tables(table(state, "modes"), "availableModes"):
            current = text(table(state, "modes"), "currentModeId")
            self._older[MODE] = AgentOption(
                MODE, "Mode", SessionOption.CATEGORY_MODE, current,
                _choices(modes, "id"), "session/set_mode",
            )  # fmt: skip
        if models := tables(table(state, "models"), "availableModels"):
            current = text(table(state, "models"), "currentModelId")
            self._older[MODEL] = AgentOption(
                MODEL, "Model", SessionOption.CATEGORY_MODEL, current,
                _choices(models, "modelId"), "session/set_model",
            )  # fmt: skip

    def take_update(self, params: Table) -> dict[str, tuple[str, str]] | None:
        """Take a `session/update` that tells of options; None if it tells of something else.

        Returns the values before and after it, of the options that have changed.
        """
        update = table(params, "update")
        before = self.current()
        match text(update, "sessionUpdate"):
            case "config_option_update":
                self.take_state(update)
            case "current_mode_update":
                self._take_mode(text(update, "currentModeId"))
            case _:
                return None
        after = self.current()
        kept = before.keys() & after.keys()
        return {one: (before[one], after[one]) for one in kept if before[one] != after[one]}

    def _take_mode(self, mode: str) -> None:
        """Take the mode that the agent has changed to, if it is one that it offers."""
        for one in [*self._configured, *self._older.values()]:
            if one.category == SessionOption.CATEGORY_MODE and mode in one.choices:
                one.current = mode

    def listed(self, chosen: Mapping[str, str] | None = None) -> OptionList:
        """Return the options for clients. chosen: values in place of the current ones.

        Choices that are too many are left out, but not the current one.
        """
        chosen = chosen or {}
        shown, left = OptionList(), MAX_CHOICES
        for one in self.all():
            current = chosen.get(one.id, one.current)
            option = shown.options.add(
                id=one.id, name=one.name, category=one.category, current=current
            )
            for value, choice in one.choices.items():
                size = choice.ByteSize() + 8
                if left >= size or value == current:
                    left -= size
                    option.choices.append(choice)
        return shown


def choices_of(option: Table) -> list[Table]:
    """Return the choices of an option, also those that are in groups."""
    choices: list[Table] = []
    for choice in tables(option, "options"):
        choices += tables(choice, "options") if "options" in choice else [choice]
    return choices


def _configured(option: Table) -> AgentOption | None:
    """Return an option of `configOptions`; None for one that cannot be set."""
    option_id = name(option, "id")
    boolean = text(option, "type") == "boolean"
    if boolean:
        current = "true" if option.get("currentValue") is True else "false"
        switch = {"true": "On", "false": "Off"}
        choices = {value: OptionChoice(value=value, name=shown) for value, shown in switch.items()}
    else:
        current = text(option, "currentValue")
        choices = _choices(choices_of(option), "value")
    if not option_id or not choices:
        return None
    category = _CATEGORIES.get(text(option, "category"), SessionOption.CATEGORY_UNSPECIFIED)
    shown = text(option, "name")[:100] or text(option, "category").capitalize() or option_id
    return AgentOption(
        option_id, shown, category, current,
        choices, CONFIGURE, boolean,
    )  # fmt: skip


def _choices(offered: list[Table], key: str) -> dict[str, OptionChoice]:
    """Return the choices by their values, which are under `key`."""
    return {
        value: OptionChoice(
            value=value,
            name=text(one, "name")[:200] or value,
            description=text(one, "description")[:MAX_DESCRIPTION],
            context_size=number(table(one, "_meta"), "contextLimit"),
        )
        for one in offered
        if (value := name(one, key))
    }
