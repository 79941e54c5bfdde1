"""The models of a server.

They are listed at the start, after an outage, when a default is needed and none was listed, and
when somebody looks at an old list.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from actors import Code, Failure, Log
from callboard.v1.chat_pb2 import OptionChoice, SessionOption
from callboard_service.backends.openai.api import Api

MODEL: Final = "model"
"""The id of the option by which a conversation's model is chosen."""

LIST_AGAIN: Final = 60.0
"""Seconds after which the models are listed again when somebody looks at them."""

MAX_CHOICES: Final = 60 * 1024
"""Maximum bytes of all choices; a snapshot leaves out options of more than 64 KiB."""

_SHOWN: Final = 5


class Models:
    """The known models. A server without a list may have any."""

    def __init__(
        self, api: Api, default: str, log: Log, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._default = default
        self._log = log
        self._listed: dict[str, int] | None = None
        self._now = now
        self._asked_at = -LIST_AGAIN

    async def refresh(self) -> None:
        """List the models. Raises Failure if the server cannot be asked."""
        self._asked_at = self._now()
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

    async def option(self, chosen: str) -> SessionOption:
        """Return the choice of models. chosen: the conversation's; empty: the default."""
        named = await self._named()
        option = SessionOption(
            id=MODEL,
            name="Model",
            category=SessionOption.CATEGORY_MODEL,
            current=chosen or self._default or next(iter(named), ""),
        )
        size = 0
        for name in sorted(named, key=lambda name: name != option.current):
            choice = OptionChoice(value=name, name=name, context_size=named[name])
            size += choice.ByteSize()
            if size > MAX_CHOICES:
                break
            option.choices.append(choice)
        return option

    async def offers(self, name: str) -> bool:
        """Return whether this is the default model, or one that the server lists."""
        return bool(name) and name in await self._named()

    async def _named(self) -> dict[str, int]:
        """Return the models to choose from, each with its context in tokens (0: unknown).

        They are listed again if the list is old; if that fails, the old list is good enough.
        """
        if self._now() - self._asked_at >= LIST_AGAIN:
            with suppress(Failure):
                await self.refresh()
        listed = self._listed or {}
        default = {self._default: self.context(self._default)} if self._default else {}
        return default | listed

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
