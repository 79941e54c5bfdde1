"""What is chosen in the conversations with an agent: the store keeps it, the agent takes it.

A choice is kept with its conversation, under the agent's command: another agent does not get it.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Final

from actors import Code, Failure
from callboard.v1.chat_pb2 import SessionOption
from callboard_service.backends.acp.agent import Agent
from callboard_service.backends.acp.options import MODE, MODEL, Options
from callboard_service.backends.acp.sessions import check_choice
from callboard_service.backends.fields import as_table, text
from callboard_service.backends.stored import StoredConversations

PREFIX: Final = "acp.option."
"""What the ids of the agent's options begin with among a conversation's choices."""


class Choosing:
    """Keeps choices, and has agents take them. agent: its command."""

    def __init__(self, turns: StoredConversations, agent: str) -> None:
        self._turns = turns
        self._agent = agent
        self.offered: Options | None = None
        """What a new session has; None: no agent has told yet."""

    def learn(self, agent: Agent) -> None:
        """Take what an agent offers that has just started, before it is given any choice."""
        if self.offered is None or not agent.continued:
            self.offered = deepcopy(agent.options)

    async def chosen(self, conversation_id: str) -> dict[str, str]:
        """Return what is chosen in a conversation, by option. Raises Failure: NOT_FOUND."""
        chosen: dict[str, str] = {}
        choices = await self._turns.journal.choices(conversation_id)
        for key, value in choices.items():
            if key.startswith(PREFIX):
                kept = as_table(json.loads(value))
                if text(kept, "agent") == self._agent:
                    chosen[key.removeprefix(PREFIX)] = text(kept, "value")
        return chosen

    async def keep(self, conversation_id: str, option_id: str, value: str) -> None:
        """Keep a choice. Raises Failure: NOT_FOUND."""
        kept = json.dumps({"agent": self._agent, "value": value})
        await self._turns.write(
            lambda store: store.choose(conversation_id, PREFIX + option_id, kept)
        )

    async def keep_changes(
        self, conversation_id: str, changes: Mapping[str, tuple[str, str]]
    ) -> None:
        """Keep what the agent has changed by itself, in place of choices that it has had.

        A choice that waits for the next message stays. Raises Failure: NOT_FOUND.
        """
        chosen = await self.chosen(conversation_id)
        for option_id, (before, after) in changes.items():
            if chosen.get(option_id) == before:
                await self.keep(conversation_id, option_id, after)

    async def lend(self, conversation_id: str, agent: Agent, model: str) -> None:
        """Have an agent use a model for one message; `apply` then goes back to the chosen one.

        The current model becomes the choice if there is none. Raises Failure: INVALID_ARGUMENT if
        the agent does not offer the model.
        """
        option = agent.options.of(SessionOption.CATEGORY_MODEL)
        if option is None or not option.current:
            raise Failure(Code.INVALID_ARGUMENT, "this agent offers no choice of its model")
        check_choice(agent.options, option.id, model)
        if option.id not in await self.chosen(conversation_id):
            await self.keep(conversation_id, option.id, option.current)
        agent.lent = True
        await agent.choose(option.id, model)

    async def apply(self, conversation_id: str, agent: Agent) -> None:
        """Have an agent take what is chosen. Raises Failure if it does not.

        A mode or model that it no longer offers is an error, because another one might do more than
        is wanted, or cost more; other such choices wait until it offers them again. A model that
        was lent for one message ends with that.
        """
        chosen = await self.chosen(conversation_id)
        for option_id in sorted(chosen, key=lambda one: one != MODEL):  # others depend on the model
            value, option = chosen[option_id], agent.options.find(option_id)
            if option is not None and value in option.choices:
                await agent.choose(option_id, value)
            elif option is not None and option.essential:
                message = f"the agent no longer offers the {option.name.lower()} {value[:80]!r}"
                raise Failure(Code.FAILED_PRECONDITION, f"{message}; choose another one")
            elif option is None and option_id == MODE:
                await agent.set_mode(value)
        agent.lent = False
