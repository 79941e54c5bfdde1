"""What is kept with a conversation about its agent: the folder, and the session there."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from actors import Code, Failure
from callboard_service.backends.acp.command import AgentCommand
from callboard_service.backends.fields import as_table, text
from callboard_service.backends.stored import StoredConversations

SESSION: Final = "acp.session"
"""The choice of a conversation under which its session in the agent is kept."""

DIRECTORY: Final = "acp.directory"
"""The choice under which the folder is kept in which the agent works, if it is not the usual."""


@dataclass(frozen=True, slots=True)
class KeptAgent:
    """What is known of a conversation's agent.

    session: to be continued; empty: there is none. untold: whether a new session is to be given the
    text of the earlier messages, or the session has not been given it yet. deletes: whether the
    agent can delete the session.
    """

    directory: Path
    session: str
    untold: bool
    deletes: bool = False


class KeptAgents:
    """Reads and writes it. turns: has the conversations. command: that of the agent."""

    def __init__(self, turns: StoredConversations, command: AgentCommand) -> None:
        self._turns = turns
        self._command = command

    @staticmethod
    def chosen(directory: str) -> dict[str, str]:
        """Return what a new conversation keeps of the folder that was chosen for it."""
        return {DIRECTORY: directory} if directory else {}

    async def of(self, conversation_id: str) -> KeptAgent:
        """Return what is known of the agent of a conversation. Raises Failure: NOT_FOUND.

        A copy of the conversation has no session, nor has one with another agent or folder.
        """
        choices = await self._turns.journal.choices(conversation_id)
        directory = Path(choices.get(DIRECTORY, "") or self._command.directory)
        kept = as_table(json.loads(choices.get(SESSION, "null")))
        own = text(kept, "conversation") == conversation_id
        same = (
            own
            and text(kept, "agent") == self._command.shown
            and text(kept, "directory") == str(directory)
        )
        if own:
            untold = kept.get("untold") is True
        else:
            untold = bool((await self._turns.get(conversation_id)).parent_id)
        session = text(kept, "session") if same else ""
        return KeptAgent(directory, session, untold, kept.get("deletes") is True)

    async def keep(self, conversation_id: str, agent: KeptAgent) -> None:
        """Keep what is known of a conversation's agent. Raises Failure: NOT_FOUND."""
        kept = json.dumps(
            {
                "conversation": conversation_id,
                "session": agent.session,
                "agent": self._command.shown,
                "directory": str(agent.directory),
                "untold": agent.untold,
                "deletes": agent.deletes,
            }
        )
        await self._turns.write(lambda store: store.choose(conversation_id, SESSION, kept))


def check_directory(directory: str) -> None:
    """Raise Failure, INVALID_ARGUMENT, for a folder that is not absolute or does not exist."""
    shown = repr(directory[:200])
    if directory and not os.path.isabs(directory):
        raise Failure(Code.INVALID_ARGUMENT, f"the directory {shown} is not an absolute path")
    if directory and not os.path.isdir(directory):
        raise Failure(Code.INVALID_ARGUMENT, f"there is no directory {shown}")
