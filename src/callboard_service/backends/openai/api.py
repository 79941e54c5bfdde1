"""The HTTP side: one session for all requests, the server's addresses and its models.

The key is sent to the configured address only: redirects are not followed, proxies and .netrc from
the environment are ignored, and cookies are not kept.
"""

import asyncio
import io
import json
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from actors import Failure, Log
from callboard_service.backends.openai import direct_post
from callboard_service.backends.openai.answer import READ_BYTES, Answer, read_at_most
from callboard_service.backends.openai.direct_post import DirectPost, Limits, Response
from callboard_service.backends.openai.listing import listed_models
from callboard_service.backends.openai.refusals import Refusals, Refused

OPENAI: Final = "https://api.openai.com/v1"

MAX_LIST: Final = 4 * 1024 * 1024
"""Maximum bytes of the list of models; OpenRouter's has some 500,000."""

_MAX_HEADER: Final = 64 * 1024
"""Maximum bytes of one response header; gateways put whole policies and traces into one."""

_MAX_ERROR: Final = 64 * 1024
CONNECTIONS: Final = 1024
"""Maximum concurrent replies."""

_LISTINGS: Final = 16
"""Connections for lists of models, in addition to those for replies."""

_HEADERS: Final = {
    # Without decompression there can be no decompression bombs.
    "Accept-Encoding": "identity",
    "User-Agent": "callboard",
}
_LIMITS: Final[Limits] = {
    "read_bufsize": READ_BYTES,
    "max_line_size": _MAX_HEADER,
    "max_field_size": _MAX_HEADER,
}
_JSON: Final = "application/json"
_RECEIVE_BUFFER: Final = 16 * 1024
_IN_ONE_PIECE: Final = 64 * 1024
"""Bytes of a request's body up to which it is given to the socket at once, which costs less."""

_PAGES: Final = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True, slots=True)
class ModelServer:
    """The server's URL, its key (empty: none) and the model (empty: the server's first)."""

    base_url: str
    key: str = field(default="", repr=False)
    model: str = ""


@dataclass(frozen=True, slots=True)
class OpenAITimeouts:
    """Timeouts, in seconds.

    connect: for a connection. models: for the list of models. silence: for the next data of any
    kind. content: for something of the reply, while only comments and empty chunks come. farewell:
    for usage, once the model has given its reason to end; other data does not extend it. doubt: in
    place of farewell, if the reason came in a chunk with content, so that more may follow. loading:
    for a server that reports that it is loading the model.
    """

    connect: float = 10.0
    models: float = 5.0
    silence: float = 600.0
    content: float = 1800.0
    farewell: float = 5.0
    doubt: float = 30.0
    loading: float = 600.0


DEFAULT_TIMEOUTS: Final = OpenAITimeouts()


class Api:
    """The requests to one server. Create it inside the event loop and `close` it."""

    def __init__(
        self,
        server: ModelServer,
        log: Log,
        patience: OpenAITimeouts,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._server = server
        self._log = log
        self._patience = patience
        self._refusals = Refusals(server.key, wall_clock)
        self._base = URL(server.base_url)
        # Many users leave out the /v1, which nearly all servers have and a few do not.
        plain = self._base.path.strip("/") == ""
        self._roots: Sequence[str] = ("v1", "") if plain else ("",)
        self._urls: dict[tuple[str, str], URL] = {}
        self._direct: dict[URL, DirectPost] = {}
        self._with_usage = True
        self._connector = aiohttp.TCPConnector(
            limit=CONNECTIONS + _LISTINGS, socket_factory=_small_socket
        )
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=2 * patience.connect, sock_connect=patience.connect
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            timeout=self._timeout,
            headers=_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            **_LIMITS,
        )

    @property
    def origin(self) -> str:
        """The server's scheme, host and port."""
        return str(self._base.origin())

    @property
    def exposes_key(self) -> bool:
        """Whether the key crosses a network without encryption."""
        away = self._base.host not in ("localhost", "127.0.0.1", "::1")
        return bool(self._server.key) and self._base.scheme == "http" and away

    @property
    def refusals(self) -> Refusals:
        """The builder of Failures for this server's refusals."""
        return self._refusals

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def models(self) -> dict[str, int] | None:
        """Return the models by name, each with its context in tokens (0: unknown).

        Return None if the server has no such list. Raises Failure.
        """
        patience = self._patience.models
        for root in self._roots:
            try:
                async with asyncio.timeout(patience), self._request("GET", root, "models") as got:
                    if got.status == 200 and got.content_type not in _PAGES:
                        models = listed_models(await read_at_most(got, MAX_LIST))
                        if models is not None:
                            self._roots = (root,)
                            return models
                    elif got.status not in (200, 404, 405, 501):
                        raise await self._refusal(got)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise self._refusals.of_exception(error, patience) from None
        return None

    async def complete(self, model: str, messages: Sequence[Mapping[str, object]]) -> Answer:
        """Start a chat completion. Raises Failure."""
        body = {"model": model, "messages": list(messages), "stream": True}
        if self._with_usage:
            try:
                return await self._post({**body, "stream_options": {"include_usage": True}})
            except Failure as failure:
                if not (isinstance(failure, Refused) and failure.mentions_usage):
                    raise
                self._log.info("the model server counts no tokens")
                self._with_usage = False
        return await self._post(body)

    async def _post(self, body: Mapping[str, object]) -> Answer:
        """Post to each possible root until one answers other than 404 or 405. Raises Refused."""
        *others, last = self._roots
        refused: Failure | None = None
        for root in (*others, last):
            response = await self._open("chat/completions", root, body)
            if response.status == 200:
                self._roots = (root,)
                return Answer(response, self._refusals)
            try:
                failure = await self._refusal(response)
            finally:
                response.close()
            # The first refusal wins: it may be about a model that the server does not know.
            refused = refused or failure
            if response.status not in (404, 405):
                raise failure
        assert refused is not None
        raise refused

    async def _open(self, path: str, root: str, body: Mapping[str, object]) -> Response:
        """Send a POST and return the response. Raises Refused if it fails or is compressed."""
        silence = self._patience.silence
        try:
            async with asyncio.timeout(silence):
                response = await self._send_body(self._url(root, path), _encoded(body))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._refusals.of_exception(error, silence) from None
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.strip().lower() not in ("", "identity"):
            response.close()
            raise self._refusals.malformed("a compressed answer, which was not requested")
        return response

    def _url(self, root: str, path: str) -> URL:
        url = self._urls.get((root, path))
        if url is None:
            url = self._base.joinpath(*filter(None, (root, *path.split("/"))))
            url = self._urls[root, path] = url.with_query(self._base.query)
        return url

    async def _send_body(self, url: URL, body: bytes) -> Response:
        if len(body) > _IN_ONE_PIECE:
            # A file object is sent piece by piece, as the server takes it.
            return await self._send(
                "POST", url, aiohttp.BytesIOPayload(io.BytesIO(body), content_type=_JSON)
            )
        if not direct_post.AVAILABLE or self._session.closed:
            return await self._send("POST", url, aiohttp.BytesPayload(body, content_type=_JSON))
        direct = self._direct.get(url)
        if direct is None:
            headers = {**_HEADERS, **self._authorization}
            direct = self._direct[url] = DirectPost(
                self._connector, url, headers, self._timeout, _LIMITS
            )
        return await direct.send(body)

    async def _send(
        self, method: str, url: URL, data: aiohttp.Payload | None = None
    ) -> aiohttp.ClientResponse:
        headers = self._authorization
        return await self._session.request(
            method, url, data=data, headers=headers, allow_redirects=False
        )

    @property
    def _authorization(self) -> dict[str, str]:
        key = self._server.key
        return {"Authorization": f"Bearer {key}"} if key else {}

    @asynccontextmanager
    async def _request(
        self, method: str, root: str, path: str
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        response = await self._send(method, self._url(root, path))
        try:
            yield response
        finally:
            response.close()

    async def _refusal(self, response: Response) -> Failure:
        """Return the failure for a status other than 200."""
        status = response.status
        if 300 <= status < 400:
            return self._refusals.of_redirect(status, _origin(response.headers.get("Location", "")))
        try:
            async with asyncio.timeout(self._patience.models):
                body = await read_at_most(response, _MAX_ERROR)
        except (aiohttp.ClientError, OSError, TimeoutError):
            body = None
        return self._refusals.of_status(status, response.headers, body or b"")


def _encoded(body: Mapping[str, object]) -> bytes:
    """Return a body as JSON in UTF-8.

    Escapes would double the size of most non-Latin text and triple that of emoji.
    """
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(body, ensure_ascii=False).encode(errors="replace")


def _small_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Create a socket with a small receive buffer, so that little is read ahead.

    The event loop reads up to 256 KiB at once if the kernel has that much, whatever the size of
    aiohttp's buffer.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    return made


def _origin(location: str) -> str:
    """Return the scheme and host of a URL, without path or credentials; empty if it has none."""
    try:
        url = URL(location)
        return str(url.origin()) if url.absolute else ""
    except ValueError:
        return ""
