"""What can be chosen in a conversation: its model, its agent and the model's effort. No I/O.

OpenCode 1.18.33 keeps the model of the newest message for the next one, but neither its agent nor
its effort. It takes unknown values without an error, and keeps them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from actors import Code, Failure
from callboard.v1.chat_pb2 import OptionChoice, OptionList, SessionOption
from callboard_service.backends.fields import Table, name, number, table, tables, text
from callboard_service.backends.opencode.marks import source_model_of
from callboard_service.backends.opencode.usage import ContextSizes

MODEL: Final = "model"
AGENT: Final = "agent"
EFFORT: Final = "effort"

DEFAULT: Final = "default"
"""The choice of effort that leaves it to OpenCode, which calls it so, too."""

MAX_CHOICES: Final = 1000
"""Choices of one option that are shown."""

MAX_DESCRIPTION: Final = 1000
"""Characters of a description."""


@dataclass(frozen=True, slots=True)
class _Model:
    name: str
    context_size: int
    efforts: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Agent:
    description: str
    model: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What is sent with a message; what is empty is left to OpenCode."""

    model: str = ""
    agent: str = ""
    effort: str = ""

    def of_prompt(self) -> dict[str, object]:
        """Return the fields of a prompt."""
        provider, _, own = self.model.partition("/")
        chosen = {"providerID": provider, "modelID": own} if self.model else None
        return _filled(model=chosen, agent=self.agent, variant=self.effort)

    def of_command(self) -> dict[str, object]:
        """Return the fields of a command."""
        return _filled(model=self.model, agent=self.agent, variant=self.effort)


class Catalog:
    """The models and agents of a server. Models are named "provider/model"."""

    def __init__(self, providers: Table, agents: Sequence[Table], config: Table) -> None:
        self._models: dict[str, _Model] = {}
        for provider in tables(providers, "providers"):
            models = table(provider, "models")
            for key in models:
                model = table(models, key)
                self._models[f"{text(provider, 'id')}/{key}"] = _Model(
                    text(model, "name") or key,
                    number(table(model, "limit"), "context"),
                    tuple(table(model, "variants")),
                )
        usable = [
            a for a in agents if text(a, "mode") != "subagent" and a.get("hidden") is not True
        ]
        self._agents = {
            name(agent, "name"): _Agent(text(agent, "description"), _joined(table(agent, "model")))
            for agent in usable
        }
        self._default_model = text(config, "model") or _first_default(providers)
        self._default_agent = text(config, "default_agent")
        if self._default_agent not in self._agents:
            self._default_agent = next(iter(self._agents), "")

    def context_sizes(self) -> ContextSizes:
        """Return how many tokens each model's context holds."""
        keyed = ((key.partition("/"), model) for key, model in self._models.items())
        return {(provider, own): model.context_size for (provider, _, own), model in keyed}

    def select(self, model: str, session: Table, choices: Mapping[str, str]) -> Selection:
        """Return what to send with a message. model: for this one only; empty: as chosen.

        A choice that the server no longer offers counts as none. Raises Failure, INVALID_ARGUMENT,
        for an unknown `model`.
        """
        if model and model not in self._models:
            raise Failure(Code.INVALID_ARGUMENT, f"OpenCode has no model {model[:80]!r}")
        chosen = model or self._offered(self._models, choices.get(MODEL, ""))
        asked = chosen or self.model_of(session, choices)
        efforts = self._models[asked].efforts if asked else ()
        effort = choices.get(EFFORT, "")
        agent = self._offered(self._agents, choices.get(AGENT, ""))
        return Selection(chosen, agent, effort if effort in efforts else "")

    def model_of(self, session: Table, choices: Mapping[str, str]) -> str:
        """Return the model that the conversation's next message goes to, by its choices."""
        agent = self._agents.get(self._agent_of(choices))
        candidates = (
            choices.get(MODEL, ""),
            "" if agent is None else agent.model,
            _joined(table(session, "model"), key="id"),
            _joined(source_model_of(session), key="id"),
            self._default_model,
        )
        return next((name for name in candidates if name in self._models), "")

    def options(self, session: Table, choices: Mapping[str, str]) -> OptionList:
        """Return the options of a conversation; session: empty: of a new one."""
        model = self.model_of(session, choices)
        models = [
            OptionChoice(value=value, name=each.name, context_size=each.context_size)
            for value, each in self._models.items()
        ]
        agents = [
            OptionChoice(value=value, name=value, description=each.description[:MAX_DESCRIPTION])
            for value, each in self._agents.items()
        ]
        kinds = SessionOption
        options = [
            _option(MODEL, "Model", kinds.CATEGORY_MODEL, model, models),
            _option(AGENT, "Agent", kinds.CATEGORY_MODE, self._agent_of(choices), agents),
        ]
        efforts = self._models[model].efforts if model else ()
        if efforts:
            offered = [OptionChoice(value=value, name=value) for value in (DEFAULT, *efforts)]
            chosen = choices.get(EFFORT, "")
            current = chosen if chosen in efforts else DEFAULT
            options.append(_option(EFFORT, "Effort", kinds.CATEGORY_EFFORT, current, offered))
        return OptionList(options=options)

    def check(self, session: Table, choices: Mapping[str, str], option: str, value: str) -> str:
        """Return the value to keep for a choice; empty: none.

        Raises Failure, INVALID_ARGUMENT, for an unknown option or value.
        """
        efforts = [DEFAULT]
        if model := self.model_of(session, choices):
            efforts += self._models[model].efforts
        options = {MODEL: [*self._models], AGENT: [*self._agents], EFFORT: efforts}
        offered = options.get(option)
        if offered is None:
            raise Failure(Code.INVALID_ARGUMENT, f"there is no option {option[:80]!r}")
        if value not in offered:
            message = f"the option {option!r} has no choice {value[:80]!r}"
            raise Failure(Code.INVALID_ARGUMENT, message)
        return "" if (option, value) == (EFFORT, DEFAULT) else value

    def _agent_of(self, choices: Mapping[str, str]) -> str:
        return self._offered(self._agents, choices.get(AGENT, "")) or self._default_agent

    @staticmethod
    def _offered(known: Mapping[str, object], value: str) -> str:
        return value if value in known else ""


def _option(
    option_id: str,
    title: str,
    category: SessionOption.Category.ValueType,
    current: str,
    choices: list[OptionChoice],
) -> SessionOption:
    """Return an option. The current choice is among those shown, however many there are."""
    shown = choices[:MAX_CHOICES]
    shown += [choice for choice in choices[MAX_CHOICES:] if choice.value == current]
    return SessionOption(
        id=option_id, name=title, category=category, current=current, choices=shown
    )


def _first_default(providers: Table) -> str:
    defaults = table(providers, "default")
    ids = (text(provider, "id") for provider in tables(providers, "providers"))
    return next((f"{key}/{text(defaults, key)}" for key in ids if text(defaults, key)), "")


def _joined(model: Table, key: str = "modelID") -> str:
    provider, own = text(model, "providerID"), text(model, key)
    return f"{provider}/{own}" if provider and own else ""


def _filled(**fields: object) -> dict[str, object]:
    return {key: value for key, value in fields.items() if value}
