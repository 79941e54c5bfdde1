"""The models of a server.

They are listed at the start, after an outage, and when a default is needed and none was listed.
"""

from typing import Final

from actors import Code, Failure, Log
from callboard_service.backends.openai.api import Api

_SHOWN: Final = 5


class Models:
    """The known models. A server without a list may have any."""

    def __init__(self, api: Api, default: str, log: Log) -> None:
        self._api = api
        self._default = default
        self._log = log
        self._listed: dict[str, int] | None = None

    async def refresh(self) -> None:
        """List the models. Raises Failure if the server cannot be asked."""
        self._listed = await self._api.models()

    async def first_look(self) -> None:
        """List the models and log oddities. Raises Failure if the server cannot be asked."""
        await self.refresh()
        if self._listed is None:
            self._log.warning("models not listed", reason="the server does not list models")
        elif self._default and self._default not in self._listed:
            self._log.warning("the model is not in the server's list", model=self._default)

    def hint(self, name: str) -> str:
        """Return a text that may be appended to the server's refusal of this model; may be empty.

        The list is only a hint: servers accept other names (`llama3` for `llama3:latest`, variants,
        deployments), and some list only the models that are loaded.
        """
        if not self._listed or name in self._listed:
            return ""
        shown = ", ".join(list(self._listed)[:_SHOWN])
        more = len(self._listed) - _SHOWN
        return f"; it lists {shown}" + (f" and {more} more" if more > 0 else "")

    def context(self, name: str) -> int:
        """Return the size of this model's context in tokens; 0 if unknown.

        A server with one model may accept any name for it, as llama.cpp's does.
        """
        listed = self._listed or {}
        return listed.get(name) or (sum(listed.values()) if len(listed) == 1 else 0)

    async def default(self) -> str:
        """Return the model for a request that names none. Raises Failure."""
        if self._default:
            return self._default
        if not self._listed:
            await self.refresh()
        if not self._listed:
            message = "the model server lists no models; name one with CALLBOARD_OPENAI_MODEL"
            raise Failure(Code.FAILED_PRECONDITION, message)
        return next(iter(self._listed))
