"""Runs the chat's handlers without sessions: a context for each, and its answers one by one."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

from actors import ActorSystem, Burst, Closes, Last, Opens, PushSource, Registry, Relay
from actors.protocol.frames import message_of
from actors.testing import Probe
from callboard_service.chat.listing import FOLLOW
from tests.support.pushed import pulled


async def answers_of(
    handler: Any, request: Any, registry: Registry, system: ActorSystem, name: str
) -> AsyncGenerator[Any, None]:
    """Yield what the handler answers, as a session would pass it on.

    name: of the actor that stands for the request; it ends with the iteration.
    """
    probe = await system.start(Probe[object], name=name)
    handler.__dict__["context"] = SimpleNamespace(
        actor=registry.actor, ref=probe, session="s", deadline=None, ended_by=None, said=None,
        features={FOLLOW}, clock=system.clock, notice=lambda text: None,
    )  # fmt: skip
    try:
        async with aclosing(handler.handle(request)) as items:
            async for item in items:
                if isinstance(item, Relay):
                    item.stopped_by = None
                    async for relayed in _relayed(item):
                        if type(relayed) in item.until:
                            item.stopped_by = relayed
                            break
                        async for answer in _flat(relayed):
                            yield answer
                else:
                    async for answer in _flat(item):
                        yield answer
    finally:
        probe.stop()


async def _relayed(relay: Relay[Any]) -> AsyncIterator[Any]:
    """Yield what the relay's source passes on, one at a time."""
    if not isinstance(relay.source, PushSource):
        async for item in relay.source:
            yield item
        return
    async for item in pulled(relay.source, relay.until):
        yield item


async def _flat(item: Any) -> AsyncIterator[Any]:
    if isinstance(item, Burst):
        for answer in item.answers:
            yield message_of(answer)
    else:
        yield item.answer if isinstance(item, Opens | Closes | Last) else message_of(item)
