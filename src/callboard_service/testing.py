"""Conversations for tests: the chat as the service runs it, with the echo backend, in memory.

    from callboard_service.testing import register_chat
    from transport.client.calls import ClientSettings
    from transport.testing import MemoryService

    async def test_follows(actor_system: ActorSystem) -> None:
        registry = Registry()
        register_chat(registry)
        service = await MemoryService.start(actor_system, registry)
        async with service.client(ClientSettings(features=("follow",))) as client:
            ...  # client.send(...), client.follow(...)
        await service.stop()

`service.cut()` drops the connections in between. `actors.testing.serving` takes `register_chat`,
too.
"""

from actors import Registry
from callboard_service.backends.echo.backend import EchoBackend
from callboard_service.chat import chat
from callboard_service.log import make_log


def register_chat(registry: Registry) -> None:
    """Register the chat on an echo backend whose conversations end with the registry's system.

    Its replies repeat the message; directives in it cause all kinds of events.
    """
    log = make_log("error")

    def report(line: str) -> None:
        log.error("store", trouble=line)

    backend = EchoBackend(report)
    store = backend.store_spec()
    registry.supervise(store.name, store.factory)
    chat.register(registry, backend, log)
