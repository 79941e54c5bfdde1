"""One streaming answer of a model server, read as it is asked for, and no further."""

import asyncio
import json
import math
from typing import Final

import aiohttp

from callboard_service.backends.openai.completion import Chunk
from callboard_service.backends.openai.refusals import Refusals, Refused
from callboard_service.backends.sse import EventReader, EventTooLong, ServerEvent

READ_BYTES: Final = 16 * 1024
MAX_BODY: Final = 1024 * 1024
"""Bytes of an answer that is not streamed."""

_DONE: Final = "[DONE]"


class Answer:
    """The chunks of a chat completion. `close` it.

    Holds READ_BYTES and one event at most: what is not asked for stays with the server.
    """

    def __init__(self, response: aiohttp.ClientResponse, refusals: Refusals) -> None:
        self._response = response
        self._refusals = refusals
        self._events = EventReader()
        self._whole = response.content_type == "application/json"
        self._done = False
        self.parsed = 0
        """Events that were taken out of the bytes so far."""
        self.broken: Refused | None = None
        """Why there are no more chunks, if the server did not say that these are all."""

    @property
    def buffered(self) -> int:
        """Bytes that were read and not parsed."""
        return self._events.buffered

    async def next(self, patience: float, until: float = math.inf) -> Chunk | None:
        """Return the next chunk; None at the end, which `broken` may explain.

        patience: seconds to wait for a sign of life, which may be a comment. until: when to stop
        waiting whatever comes, by the event loop's clock. Raises Refused for anything else.
        """
        if self._whole:
            return None if self._done else await self._read_whole(patience)
        while not self._done:
            try:
                event = self._events.next()
            except EventTooLong as error:
                raise self._refusals.malformed(str(error)) from None
            if event is None:
                await self._read(patience, until)
            elif (chunk := self._parse(event)) is not None:
                return chunk
        return None

    def close(self) -> None:
        """Let go: of the connection too, at once, if the answer has not come to its end."""
        if self._done:
            self._response.release()
        else:
            self._response.close()

    async def _read(self, patience: float, until: float) -> None:
        # A server faster than its reader would keep others from running.
        await asyncio.sleep(0)
        left = until - asyncio.get_running_loop().time()
        try:
            if left <= 0:  # else what is there already would be read for ever
                raise TimeoutError
            async with asyncio.timeout(min(patience, left)):
                data = await self._response.content.read(READ_BYTES)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._break_off(error, patience)
            return
        if data:
            self._events.feed(data)
        else:
            self._done = True
            self.broken = self._refusals.cut()

    async def _read_whole(self, patience: float) -> Chunk | None:
        try:
            async with asyncio.timeout(patience):
                body = await read_at_most(self._response, MAX_BODY)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._break_off(error, patience)
            return None
        self._done = True
        if body is None:
            raise self._refusals.malformed(f"an answer of more than {MAX_BODY} bytes")
        return self._parse(ServerEvent("", body.decode(errors="replace")))

    def _break_off(self, error: Exception, patience: float) -> None:
        self._done = True
        silent = isinstance(error, TimeoutError)
        self.broken = (
            self._refusals.of_exception(error, patience) if silent else self._refusals.cut()
        )

    def _parse(self, event: ServerEvent) -> Chunk | None:
        self.parsed += 1
        if event.data.strip() == _DONE:
            self._done = True
            return None
        try:
            value: object = json.loads(event.data)
        except (ValueError, RecursionError):
            if event.kind == "error":
                raise self._refusals.of_error(event.data) from None
            raise self._refusals.malformed("what is not JSON") from None
        if event.kind == "error":
            error = value.get("error", value) if isinstance(value, dict) else value
            raise self._refusals.of_error(error)
        return value if isinstance(value, dict) else None


async def read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """The body; None if it is longer, and then the connection is closed."""
    body = bytearray()
    while data := await response.content.read(READ_BYTES):
        body += data
        if len(body) > limit:
            response.close()
            return None
    return bytes(body)
