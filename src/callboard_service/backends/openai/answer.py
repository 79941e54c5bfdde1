"""One answer of a model server, read only as far as it is asked for.

Its form is judged by its first bytes, never by its content type: valid streams are labelled
`application/json` or `text/html`, and complete answers `text/event-stream`.
"""

import asyncio
import json
import math
from collections.abc import Callable
from typing import Final

import aiohttp
import msgspec

from callboard_service.backends import tapped
from callboard_service.backends.openai.completion import Chunk
from callboard_service.backends.openai.direct_post import Response
from callboard_service.backends.openai.quick import token_in
from callboard_service.backends.openai.refusals import Refusals, Refused
from callboard_service.backends.sse import (
    BARE,
    EventReader,
    EventTooLong,
    ServerEvent,
    single,
)

READ_BYTES: Final = 16 * 1024
MAX_BODY: Final = 1024 * 1024
"""Maximum bytes of an answer that is not streamed."""

_DONE: Final = "[DONE]"
_BEFORE_CONTENT: Final = b" \t\r\n\xef\xbb\xbf"


class Answer:
    """The chunks of one chat completion. Call `close` when done.

    Holds what one read has brought and one event of a stream; anything not asked for stays with
    the server.
    """

    def __init__(self, response: Response, refusals: Refusals) -> None:
        self._response = response
        self._refusals = refusals
        self._events = EventReader()
        self._body: bytearray | None = None
        """The body so far, if the answer is not a stream."""
        self._judged = False
        self._ended = False
        """No more bytes will come."""
        self._in_order = False
        """The connection ended without an error."""
        self._done = False
        self.parsed = 0
        """The number of events parsed so far."""
        self.broken: Refused | None = None
        """Why there are no more chunks, unless the server marked the end."""

    @property
    def buffered(self) -> int:
        """The number of bytes read but not parsed."""
        return self._events.buffered

    async def next(self, patience: float, until: float = math.inf) -> Chunk | None:
        """Return the next chunk, or None at the end; `broken` may then explain the end.

        patience: seconds without any data, which may be just a comment, before giving up. until:
        when to give up in any case, by the event loop's clock. Raises Refused if the server reports
        an error or sends something other than a chat completion.
        """
        while not self._done:
            event = self._next_event()
            if event is not None:
                if (chunk := self._parse(event)) is not None:
                    return chunk
            elif self._ended:
                self._finish()
            else:
                await self._read(patience, until)
        return None

    @property
    def over(self) -> bool:
        """Whether there are no more chunks; `broken` may explain it."""
        return self._done

    def ready(self) -> Chunk | str | None:
        """Return the next chunk if it has already been read, else None. Raises Refused.

        Of a chunk that is nothing but text, the text is returned.
        """
        while not self._done:
            event: ServerEvent | None
            if self._body is None and not self._ended and not self._events.buffered:
                return None
            plain = None if self._ended or self._body is not None else self._events.plain()
            if plain is None:
                event = self._next_event()
            elif text := token_in(plain):
                self.parsed += 1
                return text
            else:
                event = ServerEvent("", plain.decode(errors="replace"))
            if event is not None:
                if (chunk := self._parse(event)) is not None:
                    return chunk
            elif self._ended:
                self._finish()
            else:
                break
        return None

    async def more(
        self,
        took: Callable[[], bool],
        took_text: Callable[[str], bool],
        silence: Callable[[], float],
        until: Callable[[], float],
    ) -> None:
        """Read on, and call `took` after each piece, until it returns False or no more will come.

        took_text: called instead with the text of a chunk that came by itself and is nothing but
        text. silence, until: like `patience` and `until` of `next`, asked again and again. Raises
        what `took` and `took_text` raise, and Refused.
        """
        content = self._response.content
        if not tapped.AVAILABLE or content.at_eof():
            await self._read(silence(), until())
            return
        try:
            held = content.read_nowait(-1)
        except (aiohttp.ClientError, OSError):
            self._end()
            return
        if held:
            self._take(held)
            return
        try:
            await self._listen(content, took, took_text, silence, until)
        except TimeoutError as error:
            self._done = True
            self.broken = self._refusals.of_exception(error, silence())

    async def _listen(
        self,
        content: aiohttp.StreamReader,
        took: Callable[[], bool],
        took_text: Callable[[str], bool],
        silence: Callable[[], float],
        until: Callable[[], float],
    ) -> None:
        """Take each piece as it is read; see `more`. Raises TimeoutError, too."""
        loop = asyncio.get_running_loop()
        now, events = loop.time, self._events
        heard, waiter = now(), loop.create_future()
        idle = self._judged and events.is_idle

        def received(data: bytes) -> None:
            nonlocal heard, idle
            heard = now()
            try:
                plain = single(data) if idle else None
                if plain is not None and (text := token_in(plain)):  # nearly always
                    self.parsed += 1
                    if took_text(text):
                        return
                else:
                    self._take(data)
                    if took():
                        idle = self._judged and events.is_idle
                        return
            except BaseException as error:  # noqa: BLE001 - raised again below
                stop(error)
            else:
                stop()

        def stop(error: BaseException | None = None) -> None:
            tapped.untap(content)
            if waiter.done():
                return
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

        deadline = _Deadline(lambda: min(heard + silence(), until()), stop)
        try:
            with tapped.tapped(content, tapped.Tap(received, stop), self._response.connection):
                await waiter
        finally:
            deadline.cancel()

    def close(self) -> None:
        """Release the connection, or close it at once if the answer has not ended."""
        if self._done:
            self._response.release()
        else:
            self._response.close()

    def _next_event(self) -> ServerEvent | None:
        """Return the next event in the buffer, if there is one. Raises Refused."""
        if self._body is not None:
            if not self._ended:
                return None
            body, self._body = self._body, bytearray()
            return ServerEvent(BARE, body.decode(errors="replace")) if body else None
        try:
            return self._events.end() if self._ended else self._events.next()
        except EventTooLong as error:
            raise self._refusals.malformed(str(error)) from None

    async def _read(self, patience: float, until: float) -> None:
        if self._judged:  # else nothing but blanks has been read
            # Without this, a server faster than its reader would starve other tasks.
            await asyncio.sleep(0)
        left = until - asyncio.get_running_loop().time()
        try:
            if left <= 0:  # otherwise data already received could be read for ever
                raise TimeoutError
            async with asyncio.timeout(min(patience, left)):
                data = await self._response.content.read(READ_BYTES)
        except TimeoutError as error:
            self._done = True
            self.broken = self._refusals.of_exception(error, patience)
        except (aiohttp.ClientError, OSError):
            self._end()
        else:
            if data:
                self._take(data)
            else:
                self._in_order = True
                self._end()

    def _end(self) -> None:
        """Note that no more bytes will come; the buffer may still hold an event."""
        self._ended = True
        self.broken = self._refusals.cut()

    def _finish(self) -> None:
        """Note that there are no more chunks. Raises Refused for content without an event."""
        self._done = True
        if not self.parsed and self._in_order:
            if self._judged:
                raise self._refusals.malformed("something that is not a reply")
            self.broken = self._refusals.empty()

    def _take(self, data: bytes) -> None:
        """Buffer bytes; the first non-blank ones show the answer's form. Raises Refused."""
        if not self._judged:
            data = data.lstrip(_BEFORE_CONTENT)
            if not data:
                return
            self._judged = True
            if data[:1] == b"<":
                raise self._refusals.of_page()
            if data[:1] in b"{[":
                self._body = bytearray()
        if self._body is None:
            self._events.feed(data)
            return
        self._body += data
        if len(self._body) > MAX_BODY:
            raise self._refusals.malformed(f"an answer of more than {MAX_BODY} bytes")

    def _parse(self, event: ServerEvent) -> Chunk | None:
        """Return the chunk in an event, if there is one. Raises Refused."""
        self.parsed += 1
        data = event.data.strip()
        if data == _DONE:
            self._done = True
            self.broken = None
            return None
        try:
            value: object = _decoded(data)
        except (ValueError, RecursionError):
            self._pass_over(event, data)
            return None
        if self._ended and event.kind == BARE:
            self.broken = None  # a complete answer that is not streamed
        if event.kind == "error":
            error = value.get("error", value) if isinstance(value, dict) else value
            raise self._refusals.of_error(error)
        if isinstance(value, list):
            value = next((item for item in value if isinstance(item, dict)), None)
        return value if isinstance(value, dict) else None

    def _pass_over(self, event: ServerEvent, data: str) -> None:
        """Ignore keep-alives and an event cut off by the end. Raises Refused for other data."""
        if event.kind == "error":
            raise self._refusals.of_error(event.data)
        if not data or self._ended or event.kind not in ("", "message", BARE):
            return
        raise self._refusals.malformed("something that is not JSON")


def _decoded(data: str) -> object:
    """Decode JSON. Raises ValueError and RecursionError."""
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return json.loads(data)  # takes NaN and halves of surrogate pairs, too


async def read_at_most(response: Response, limit: int) -> bytes | None:
    """Return the body; None if it is longer than `limit` bytes, after closing the connection."""
    body = bytearray()
    while data := await response.content.read(READ_BYTES):
        body += data
        if len(body) > limit:
            response.close()
            return None
    return bytes(body)


class _Deadline:
    """Calls `missed` with a TimeoutError once it is `due()`, which is asked again at that time.

    A class, since a function that refers to itself is a reference cycle.
    """

    def __init__(self, due: Callable[[], float], missed: Callable[[BaseException], None]) -> None:
        self._due = due
        self._missed = missed
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_at(due(), self._check)

    def cancel(self) -> None:
        """Stop; `missed` is not called from now on."""
        self._timer.cancel()

    def _check(self) -> None:
        when = self._due()
        if when > self._loop.time():
            self._timer = self._loop.call_at(when, self._check)
        else:
            self._missed(TimeoutError())
