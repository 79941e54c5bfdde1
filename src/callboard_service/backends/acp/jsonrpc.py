"""JSON-RPC 2.0 over lines, as the Agent Client Protocol uses it (its page "Transports"). No I/O.

Both sides send requests. Whatever is not a message of JSON-RPC is Noise: many agents print to
standard output what was meant for a terminal. Batches are not part of ACP, and noise too.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from callboard_service.backends.fields import Table, as_table, number, table, text

MAX_LINE: Final = 32 * 1024 * 1024
"""Bytes of one message; a longer line is noise. Qwen Code 0.24.4 sends one of 561 KB at once."""

METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
NOT_FOUND: Final = -32002
REQUEST_CANCELLED: Final = -32800

MAX_NOISE: Final = 2000
"""Bytes of a line of noise that are kept."""


class Unserved(Exception):
    """A request of the agent is answered with an error. code: of JSON-RPC."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


RequestId: TypeAlias = int | str | float | None
"""The id of a request from the agent, to be sent back unchanged. Many agents begin with 0."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request from the agent, which must be answered once."""

    id: RequestId
    method: str
    params: Table


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification from the agent."""

    method: str
    params: Table


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to our request `id`."""

    id: int
    value: Table


@dataclass(frozen=True, slots=True)
class RpcError:
    """The error that our request `id` was answered with."""

    id: int
    code: int
    message: str
    data: object


@dataclass(frozen=True, slots=True)
class Noise:
    """A line that is no message, or answers no request; cut to MAX_NOISE bytes."""

    line: str


Message: TypeAlias = Request | Notification | Result | RpcError | Noise


class LineSplitter:
    """Cuts a stream of bytes into lines; `limit`: the bytes of a line, without its end."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._begun = bytearray()
        self._dropping = False

    def feed(self, data: bytes) -> Iterator[bytes | Noise]:
        """Yield the lines that `data` completes, and Noise for each that is too long."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            yield from self._add(data, start, end)
            if self._dropping:
                self._dropping = False
            else:
                yield bytes(self._begun)
            self._begun.clear()
            start = end + 1
        yield from self._add(data, start, len(data))

    def _add(self, data: bytes, start: int, end: int) -> Iterator[Noise]:
        """Add a piece of a line, or drop the line if it gets too long."""
        if self._dropping:
            return
        if len(self._begun) + end - start > self._limit:
            self._begun += data[start : start + MAX_NOISE]
            self._dropping = True
            yield _noise(bytes(self._begun[:MAX_NOISE]))
            self._begun.clear()
        else:
            self._begun += data[start:end]


class Rpc:
    """One side of a connection: numbers our requests, and tells which answer is whose."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._lines = LineSplitter(limit)
        self._last_id = 0
        self._open: set[int] = set()

    def request(self, method: str, params: Table) -> tuple[int, bytes]:
        """Return the id of a new request, and the bytes to send."""
        self._last_id += 1
        self._open.add(self._last_id)
        message = {"id": self._last_id, "method": method, "params": params}
        return self._last_id, _encoded(message)

    def notification(self, method: str, params: Table) -> bytes:
        """Return the bytes of a notification."""
        return _encoded({"method": method, "params": params})

    def result(self, request_id: RequestId, value: Table) -> bytes:
        """Return the bytes that answer a request of the agent."""
        return _encoded({"id": request_id, "result": value})

    def refusal(self, request_id: RequestId, code: int, message: str) -> bytes:
        """Return the bytes that answer a request of the agent with an error."""
        return _encoded({"id": request_id, "error": {"code": code, "message": message}})

    def receive(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that `data` completes, in their order."""
        for line in self._lines.feed(data):
            if isinstance(line, Noise):
                yield line
            elif not line.isspace() and line:
                yield self._message(line)

    def _message(self, line: bytes) -> Message:
        try:
            decoded: object = json.loads(line)
        except (ValueError, RecursionError):
            return _noise(line)
        message = as_table(decoded)
        method = text(message, "method")
        if method:
            params = table(message, "params")
            if "id" not in message:
                return Notification(method, params)
            request_id = message["id"]
            if request_id is None or isinstance(request_id, int | str | float):
                return Request(request_id, method, params)
            return _noise(line)
        return self._answer(message) or _noise(line)

    def _answer(self, message: Table) -> Result | RpcError | None:
        """Return the answer to one of our requests; None if it is none."""
        request_id = message.get("id")
        if isinstance(request_id, bool) or not isinstance(request_id, int):
            return None
        if request_id not in self._open:
            return None
        error = message.get("error")
        if error is None and "result" not in message:
            return None
        self._open.discard(request_id)
        if error is None:
            return Result(request_id, table(message, "result"))
        said = as_table(error)
        code = said.get("code")
        return RpcError(
            request_id,
            code if isinstance(code, int) and not isinstance(code, bool) else number(said, "code"),
            text(said, "message") or (error if isinstance(error, str) else ""),
            said.get("data"),
        )


def _encoded(message: dict[str, object]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n"


def _noise(line: bytes) -> Noise:
    return Noise(line[:MAX_NOISE].decode(errors="replace"))
