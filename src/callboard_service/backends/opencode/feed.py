"""The reader of the server's event stream. It crashes when the stream breaks, and is restarted."""

import asyncio
import json
from typing import Final, Never

import aiohttp

from actors import Actor, Backoff, Failure, Intensity, Lifecycle
from callboard_service.backends.fields import Table, as_table, text
from callboard_service.backends.opencode.api import Api
from callboard_service.backends.opencode.hub import Hub
from callboard_service.backends.sse import EventReader, EventTooLong

MAX_EVENT: Final = 4 * 1024 * 1024
"""Maximum bytes of one event. A longer one breaks the stream; its content is then fetched."""

FEED: Final = Lifecycle(
    shutdown=0.0,
    backoff=Backoff(initial=0.1, maximum=5.0),
    # A feed that cannot connect keeps trying for as long as the service runs.
    intensity=Intensity(restarts=1_000_000, period=60.0),
)

_CHUNK: Final = 64 * 1024
_SAYS_SOMETHING: Final = ("message.", "session.", "permission.", "question.")


class FeedBroken(Exception):
    """The event stream ended; the message says how."""


class Feed(Actor[Never]):
    """Reads events and passes them to the replies that they are about."""

    def __init__(self, api: Api, hub: Hub) -> None:
        self._api = api
        self._hub = hub

    async def main(self) -> None:
        """Read until the stream breaks. Raises FeedBroken."""
        try:
            async with self._api.events() as stream:
                await self._read(stream)
        except Failure as failure:
            raise FeedBroken(failure.message) from None
        except EventTooLong as error:
            raise FeedBroken(str(error)) from None
        raise FeedBroken("the event stream ended")

    async def _read(self, stream: aiohttp.StreamReader) -> None:
        reader = EventReader(MAX_EVENT)
        async for chunk in stream.iter_chunked(_CHUNK):
            reader.feed(chunk)
            while (event := reader.next()) is not None:
                self._take(event.data)
            # A chunk holds many events, and the next chunk may be here already: let others run.
            await asyncio.sleep(0)

    def _take(self, data: str) -> None:
        event = decode(data)
        kind = text(event, "type")
        if kind == "server.connected":
            self._hub.back()
        elif kind.startswith(_SAYS_SOMETHING):
            self._hub.route(event, len(data))

    def receive(self, message: Never) -> None:
        """Do nothing: this actor gets no messages."""

    def stopped(self) -> None:
        """Tell the hub that no more events come."""
        self._hub.lost()


def decode(data: str) -> Table:
    """Return an event; empty if the data is not a JSON object."""
    try:
        return as_table(json.loads(data))
    except (ValueError, RecursionError):
        return {}
