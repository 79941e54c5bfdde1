"""Posts to one URL on the connections of an aiohttp session, without its request and response.

For each request aiohttp merges headers, makes a request, a writer and a response, and looks for
cookies, proxies, redirects and traces. A server that is asked the same way again and again needs
none of that: the head is made once here. The pool of connections, with TLS and timeouts, and the
parser are aiohttp's.

This relies on two methods and a property of aiohttp's client protocol that are not documented.
`AVAILABLE` is the switch: if they are not as expected, the session sends the request
(docs/adr/0066).
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, TypedDict
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL


class Limits(TypedDict):
    """Of what is read, in bytes, as in a ClientSession."""

    read_bufsize: int
    max_line_size: int
    max_field_size: int


class DirectResponse:
    """A response whose head has been read. It has what is used of aiohttp's."""

    __slots__ = ("connection", "content", "headers", "status")

    def __init__(
        self,
        connection: Connection,
        status: int,
        headers: Mapping[str, str],
        content: aiohttp.StreamReader,
    ) -> None:
        self.connection: Connection | None = connection
        """Its connection, until that is released."""
        self.status: int = status
        self.headers: Mapping[str, str] = headers
        self.content: aiohttp.StreamReader = content
        content.on_eof(self.release)

    def release(self) -> None:
        """Give the connection back, or close it if the body has not ended."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.release()

    def close(self) -> None:
        """Close the connection, unless it was given back."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()


_USED: Final[WeakSet[ResponseHandler]] = WeakSet()
"""The protocols of connections that have had a request of ours."""

Response: TypeAlias = aiohttp.ClientResponse | DirectResponse


class DirectPost:
    """Posts JSON to one URL.

    headers: all but those of the body. timeout: only those for a connection are used.
    """

    def __init__(
        self,
        connector: aiohttp.BaseConnector,
        url: URL,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        limits: Limits,
    ) -> None:
        self._connector = connector
        self._timeout = timeout
        self._limits = limits
        # It names the connections that can be used, and completes the headers.
        self._request = aiohttp.ClientRequest("POST", url, headers=headers)
        fields = {**self._request.headers, "Content-Type": "application/json"}
        fields.pop("Content-Length", None)
        lines = [f"{name}: {value}\r\n" for name, value in fields.items()]
        head = f"POST {url.raw_path_qs} HTTP/1.1\r\n{''.join(lines)}Content-Length: "
        self._head = head.encode()

    async def send(self, body: bytes) -> DirectResponse:
        """Send a body in one piece; return the response once its head has been read.

        Raises ClientError, OSError and TimeoutError.
        """
        connection = await self._connect()
        try:
            protocol = connection.protocol
            if protocol is None or protocol.transport is None:
                raise aiohttp.ServerDisconnectedError
            _USED.add(protocol)
            protocol.set_response_params(read_until_eof=True, auto_decompress=False, **self._limits)
            protocol.transport.write(b"%s%d\r\n\r\n%s" % (self._head, len(body), body))
            while True:
                message, content = await protocol.read()
                if not 100 <= message.code < 200 or message.code == 101:
                    return DirectResponse(connection, message.code, message.headers, content)
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                self._request.request_info, (), status=error.code, message=error.message
            ) from error
        except BaseException:
            connection.close()
            raise

    async def _connect(self) -> Connection:
        """Return a new connection, or one on which nothing has come since its last response."""
        while True:
            try:
                connection = await self._connector.connect(self._request, [], self._timeout)
            except TimeoutError as error:
                raise aiohttp.ConnectionTimeoutError from error
            protocol = connection.protocol
            if protocol is None or protocol not in _USED or not protocol.should_close:
                return connection
            connection.close()


def _takes(function: Callable[..., object], *names: str) -> bool:
    return set(names) <= inspect.signature(function).parameters.keys()


def is_as_expected() -> bool:
    """Return whether aiohttp has what is used here."""
    try:
        return (
            _takes(
                ResponseHandler.set_response_params,
                *("read_until_eof", "auto_decompress"),
                *Limits.__annotations__,
            )
            and inspect.iscoroutinefunction(ResponseHandler.read)
            and isinstance(vars(ResponseHandler).get("should_close"), property)
            and _takes(aiohttp.BaseConnector.connect, "req", "traces", "timeout")
            and _takes(aiohttp.ClientRequest.__init__, "method", "url", "headers")
        )
    except (AttributeError, TypeError, ValueError):
        return False


AVAILABLE: Final = is_as_expected()
"""Whether requests can be sent so."""
