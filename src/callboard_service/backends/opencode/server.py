"""The actor for an OpenCode server: it checks the server and starts listening to it."""

from collections.abc import Callable
from typing import Final, Never

from actors import Actor, ActorRef, Failure, Log
from callboard_service.backends.opencode.aborts import AbortMessage, Aborts
from callboard_service.backends.opencode.api import CALL_TIMEOUT, Address, Api
from callboard_service.backends.opencode.feed import FEED, Feed
from callboard_service.backends.opencode.hub import Hub
from callboard_service.errors import BackendFailed

TRIED: Final = "1.18."
"""The versions whose behaviour is known."""


class Server(Actor[Never]):
    """One server, for as long as it is available."""

    def __init__(
        self,
        address: Address,
        directory: str,
        hub: Hub,
        log: Log,
        on_start: Callable[[ActorRef[AbortMessage]], None],
        call_timeout: float = CALL_TIMEOUT,
    ) -> None:
        self._address = address
        self._directory = directory
        self._hub = hub
        self._log = log
        self._on_start = on_start
        self._call_timeout = call_timeout
        self._api: Api | None = None

    async def started(self) -> None:
        """Check that it is an OpenCode server that takes the password. Raises BackendFailed."""
        api = self._api = Api(self._address, self._directory, self._call_timeout)
        try:
            version = await api.version()
            api.directory = await api.place()
        except Failure as failure:
            await api.close()
            raise BackendFailed(f"opencode: {self._address.url}: {failure.message}") from None
        except BaseException:
            await api.close()
            raise
        if not version.startswith(TRIED):
            self._log.warning("untested version of OpenCode", version=version, tried=TRIED)
        self._log.info("OpenCode ready", version=version, directory=api.directory)
        self._on_start(self.context.spawn(lambda: Aborts(api, self._log), name="aborts"))
        self._hub.attach(api)
        self.context.spawn(lambda: Feed(api, self._hub), name="feed", lifecycle=FEED)

    def receive(self, message: Never) -> None:
        """Do nothing: the backend calls the API directly."""

    async def stopped(self) -> None:
        """Detach the server from the backend and close its connections."""
        self._hub.detach()
        if self._api is not None:
            await self._api.close()
