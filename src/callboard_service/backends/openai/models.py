"""The models of a server: listed once, and again when one is asked for that was not there."""

from typing import Final

from actors import Code, Failure, Log
from callboard_service.backends.openai.api import Api

_SHOWN: Final = 5


class Models:
    """Which models there are. A server that has no list has any."""

    def __init__(self, api: Api, default: str, log: Log) -> None:
        self._api = api
        self._default = default
        self._log = log
        self._names: list[str] | None = None

    async def refresh(self) -> None:
        """List them. Raises Failure if the server cannot be asked."""
        self._names = await self._api.models()

    async def first_look(self) -> None:
        """List them and log what is odd. Raises Failure if the server cannot be asked."""
        await self.refresh()
        if self._names is None:
            self._log.warning("models not listed", reason="the server has no list of models")
        elif self._default and self._default not in self._names:
            self._log.warning("the model is not in the server's list", model=self._default)

    async def check(self, name: str) -> None:
        """Raises Failure, INVALID_ARGUMENT, for a name that the server has not in its list."""
        if not await self._is_there(name):
            shown = ", ".join(repr(known) for known in (self._names or [])[:_SHOWN]) or "none"
            more = len(self._names or []) - _SHOWN
            rest = f" and {more} more" if more > 0 else ""
            message = f"there is no model {name[:100]!r} here; there are: {shown}{rest}"
            raise Failure(Code.INVALID_ARGUMENT, message)

    def knows(self, name: str) -> bool:
        """Return whether the model is there, as far as that is known without asking the server."""
        return name == self._default or (self._names is not None and name in self._names)

    async def _is_there(self, name: str) -> bool:
        if self.knows(name):
            return True
        try:
            await self.refresh()
        except Failure:
            # The request itself will tell what is wrong with the server.
            return self._names is None
        return self._names is None or name in self._names

    async def default(self) -> str:
        """The model of a request that names none. Raises Failure."""
        if self._default:
            return self._default
        if not self._names:
            await self.refresh()
        if not self._names:
            message = "the model server lists no models; name one with CALLBOARD_OPENAI_MODEL"
            raise Failure(Code.FAILED_PRECONDITION, message)
        return self._names[0]
