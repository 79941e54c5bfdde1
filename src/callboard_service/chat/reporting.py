"""Reports what changes in a conversation by itself, such as a title that its backend gives it."""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from actors import Actor, Failure, Registry, Undelivered
from callboard.v1.chat_pb2 import OptionList
from callboard_service.chat.conversation import ChatEnvironment, Conversation
from callboard_service.chat.messages import Changed

if TYPE_CHECKING:
    from collections.abc import Callable


AFTER: Final = 0.1
"""Seconds from a change to its report, so that changes that follow one another are one."""


class Report:
    """Report the changes that were told."""


class ToldChanges:
    """The conversations that a backend says have changed. `wake`: set by the actor that reports."""

    def __init__(self) -> None:
        self.names: dict[str, OptionList | None] = {}
        self.wake: Callable[[], None] | None = None

    def add(self, conversation_id: str, options: OptionList | None = None) -> None:
        """Have this change reported soon. Backends call it; see `ChatBackend.watch`."""
        if not self.names and self.wake is not None:
            self.wake()
        self.names[conversation_id] = options or self.names.get(conversation_id)


def register(registry: Registry, environment: ChatEnvironment) -> None:
    """Have what the backend tells of its conversations reported."""
    told = ToldChanges()
    environment.backend.watch(told.add)
    registry.supervise("reporter", lambda: Reporter(registry, environment, told))


class Reporter(Actor[Report]):
    """Has the changed conversations read again, for those who follow them or watch the list."""

    def __init__(self, registry: Registry, environment: ChatEnvironment, told: ToldChanges) -> None:
        self._registry = registry
        self._environment = environment
        self._told = told

    def started(self) -> None:
        """Begin with what a crashed incarnation may have left."""
        self._told.wake = self._wake
        if self._told.names:
            self._wake()

    def _wake(self) -> None:
        self.context.after(AFTER, Report())

    async def receive(self, message: Report) -> None:
        """Report all changes that were told."""
        names, self._told.names = self._told.names, {}
        for name, options in names.items():
            with suppress(Failure, Undelivered):  # its next change reports it
                await self._report(name, options)

    async def _report(self, name: str, options: OptionList | None) -> None:
        environment = self._environment
        if name in environment.alive:
            await self._registry.actor(Conversation, name).send(Changed(options))
        elif environment.changes.watched:
            environment.changes.changed(await environment.listing.get(name))
