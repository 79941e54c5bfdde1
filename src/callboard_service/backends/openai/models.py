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
        self._listed: dict[str, int] | None = None

    async def refresh(self) -> None:
        """List them. Raises Failure if the server cannot be asked."""
        self._listed = await self._api.models()

    async def first_look(self) -> None:
        """List them and log what is odd. Raises Failure if the server cannot be asked."""
        await self.refresh()
        if self._listed is None:
            self._log.warning("models not listed", reason="the server has no list of models")
        elif self._default and self._default not in self._listed:
            self._log.warning("the model is not in the server's list", model=self._default)

    def hint(self, name: str) -> str:
        """Return what a person may be told beside the server's refusal of this model; or nothing.

        The list is only a help: servers know models by other names (`llama3` for `llama3:latest`,
        variants, deployments) and some list just those that are loaded.
        """
        if not self._listed or name in self._listed:
            return ""
        shown = ", ".join(list(self._listed)[:_SHOWN])
        more = len(self._listed) - _SHOWN
        return f"; it lists {shown}" + (f" and {more} more" if more > 0 else "")

    def context(self, name: str) -> int:
        """Return how many tokens this model's context has; 0 if the server does not say.

        A server with one model may take any name for it, as llama.cpp's does.
        """
        listed = self._listed or {}
        return listed.get(name) or (sum(listed.values()) if len(listed) == 1 else 0)

    async def default(self) -> str:
        """The model of a request that names none. Raises Failure."""
        if self._default:
            return self._default
        if not self._listed:
            await self.refresh()
        if not self._listed:
            message = "the model server lists no models; name one with CALLBOARD_OPENAI_MODEL"
            raise Failure(Code.FAILED_PRECONDITION, message)
        return next(iter(self._listed))
