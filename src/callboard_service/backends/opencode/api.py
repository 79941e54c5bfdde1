"""The OpenCode server's HTTP interface, in bounded time and memory. Every call raises Failure.

The password is sent to the configured address only: redirects are not followed, and proxies and
.netrc from the environment are ignored. No message of a Failure quotes the server's answer.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from yarl import URL

from actors import Code, Failure
from callboard_service.backends.fields import (
    Table,
    as_table,
    as_tables,
    table,
    text,
)
from callboard_service.backends.opencode.asks import Settlement

USER: Final = "opencode"
MAX_CHILDREN: Final = 100
"""Maximum agents of earlier replies whose questions are followed."""

MAX_BODY: Final = 64 * 1024 * 1024
"""Maximum bytes of an answer: a page of messages, including the output of tools."""

MESSAGES: Final = 50
"""Messages in one answer."""

CALL_TIMEOUT: Final = 30.0
"""Seconds for a call; the first one in a directory takes the server longer."""

SILENCE: Final = 30.0
"""Seconds without a byte after which the event stream is broken; its heartbeat is 10 s."""

_CONNECT: Final = 5.0
_CHUNK: Final = 64 * 1024
_CONVERSATION: Final = re.compile(r"ses_[A-Za-z0-9]{1,64}")
_AWAY: Final = Failure(Code.UNAVAILABLE, "the OpenCode server cannot be reached", retryable=True)
_SLOW: Final = Failure(Code.UNAVAILABLE, "the OpenCode server does not answer", retryable=True)
_OTHER: Final = Failure(
    Code.FAILED_PRECONDITION, "this is not an OpenCode server; check CALLBOARD_OPENCODE_URL"
)
TOO_LONG: Final = Failure(Code.RESOURCE_EXHAUSTED, "the OpenCode server's answer is too long")
_STATUS: Final = {
    400: (Code.INVALID_ARGUMENT, "the OpenCode server rejected the request"),
    401: (Code.UNAUTHENTICATED, "the OpenCode server rejected the password"),
    403: (Code.PERMISSION_DENIED, "the OpenCode server denied access"),
    404: (Code.NOT_FOUND, "the OpenCode server cannot find this"),
    409: (Code.UNAVAILABLE, "the OpenCode conversation is busy"),
    429: (Code.RESOURCE_EXHAUSTED, "the OpenCode server accepts no more requests for now"),
}
_RETRYABLE: Final = frozenset({Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Address:
    """A server's URL and its password (empty: none)."""

    url: str
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """Messages, oldest first, and the cursor of those before them (empty: there are none)."""

    messages: Sequence[Table]
    earlier: str


class Api:
    """The calls to a server. Create it inside the event loop and `close` it.

    directory: of the project; empty: the server's own. call_timeout: seconds for each answer.
    """

    def __init__(
        self, address: Address, directory: str = "", call_timeout: float = CALL_TIMEOUT
    ) -> None:
        self.directory = directory
        self._call_timeout = call_timeout
        self._base = URL(address.url)
        headers = {"User-Agent": "callboard", "Accept-Encoding": "identity"}
        if address.password:
            headers["Authorization"] = aiohttp.encode_basic_auth(USER, address.password)
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def version(self) -> str:
        """Return the server's version, after checking that it reports itself healthy."""
        health = as_table(await self._call("GET", "/global/health"))
        if health.get("healthy") is not True:
            raise _failure(_OTHER)
        return text(health, "version")

    async def place(self) -> str:
        """Return the project's directory, as the server names it."""
        place = text(as_table(await self._call("GET", "/path")), "directory")
        if not place:
            raise _failure(_OTHER)
        return place

    async def providers(self) -> Table:
        """Return the usable models: `{providers: [{id, models}], default: {provider: model}}`."""
        return as_table(await self._call("GET", "/config/providers"))

    async def agents(self) -> list[Table]:
        """Return all agents, those for the model's use and hidden ones too."""
        return as_tables(await self._call("GET", "/agent"))

    async def config(self) -> Table:
        """Return the configuration, which may contain secrets."""
        return as_table(await self._call("GET", "/config"))

    async def commands(self) -> list[Table]:
        """Return the commands of the project."""
        return as_tables(await self._call("GET", "/command"))

    async def sessions(self) -> list[Table]:
        """Return the project's conversations, the most recently changed first."""
        query = {"roots": "true", "limit": "10000"}
        return as_tables(await self._call("GET", "/session", query=query))

    async def create(self, title: str) -> Table:
        """Create a conversation; without a title the model will give it one."""
        body = {"title": title} if title.strip() else {}
        return as_table(await self._call("POST", "/session", body=body))

    async def session(self, name: str) -> Table:
        """Return one conversation of the project. Raises Failure: NOT_FOUND."""
        info = as_table(await self._call("GET", f"/session/{known(name)}"))
        if self.directory and text(info, "directory") != self.directory:
            raise unknown(name)
        return info

    async def update(self, name: str, changes: Mapping[str, object]) -> Table:
        """Change a conversation and return it. Raises Failure: NOT_FOUND."""
        return as_table(await self._call("PATCH", f"/session/{known(name)}", body=changes))

    async def fork(self, name: str, message_id: str = "") -> Table:
        """Copy the messages before this one into a new conversation, and return that.

        message_id: empty: all messages. The server copies all for an unknown one as well.
        """
        body = {"messageID": message_id} if message_id else {}
        return as_table(await self._call("POST", f"/session/{known(name)}/fork", body=body))

    async def children(self, name: str) -> list[str]:
        """Return the conversations of agents started from this one, directly or indirectly.

        The result is cut to MAX_CHILDREN.
        """
        found: list[str] = []
        asked = [name]
        while asked and len(found) < MAX_CHILDREN:
            answer = await self._call("GET", f"/session/{known(asked.pop())}/children")
            new = [text(child, "id") for child in as_tables(answer)]
            new = [child for child in new if child.startswith("ses") and child not in found]
            found += new
            asked += new
        return found[:MAX_CHILDREN]

    async def delete(self, name: str) -> None:
        """Delete a conversation. Raises Failure: NOT_FOUND."""
        await self._call("DELETE", f"/session/{known(name)}")

    async def abort(self, name: str) -> None:
        """Stop the reply that runs in a conversation, if any."""
        await self._call("POST", f"/session/{known(name)}/abort")

    async def prompt(self, name: str, message: Mapping[str, object]) -> None:
        """Ask for a reply, which comes as events.

        The same `messageID` must not be posted twice: the server would append the words to the
        first message.
        """
        await self._call("POST", f"/session/{known(name)}/prompt_async", body=message)

    async def add(self, name: str, message: Mapping[str, object]) -> None:
        """Add a message, as `prompt`, for which no reply is started."""
        body = {**message, "noReply": True}
        await self._call("POST", f"/session/{known(name)}/message", body=body)

    async def command(self, name: str, command: Mapping[str, object]) -> None:
        """Run a command. Its reply comes as events; return when it has ended.

        Closing the connection before does not stop the reply.
        """
        forever = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
        path = f"/session/{known(name)}/command"
        async with self._answer("POST", path, body=command, timeout=forever):
            pass

    async def mark(self, name: str, message_id: str, metadata: Mapping[str, object]) -> None:
        """Add a part with this metadata to a message; neither the model nor a user sees it."""
        part_id = f"prt_{message_id}"
        part = {
            "id": part_id,
            "sessionID": name,
            "messageID": message_id,
            "type": "text",
            "text": "",
            "synthetic": True,
            "ignored": True,
            "metadata": metadata,
        }
        path = f"/session/{known(name)}/message/{message_id}/part/{part_id}"
        await self._call("PATCH", path, body=part)

    async def messages(self, name: str, limit: int, earlier: str = "") -> Page:
        """Return the newest messages, or those before the cursor `earlier`."""
        query = {"limit": str(limit)} | ({"before": earlier} if earlier else {})
        async with self._answer("GET", f"/session/{known(name)}/message", query) as answer:
            messages = as_tables(await _json(answer))
            return Page(messages, answer.headers.get("x-next-cursor", ""))

    async def page(self, name: str, earlier: str = "") -> Page:
        """Return MESSAGES messages, or fewer if the answer would be too long, as `messages`."""
        count = MESSAGES
        while True:
            try:
                return await self.messages(name, count, earlier)
            except Failure as failure:
                if failure.message != TOO_LONG.message or count == 1:
                    raise
            count = max(count // 8, 1)

    async def message(self, name: str, message_id: str) -> Table | None:
        """Return a message; None if the conversation has none with this id."""
        try:
            found = await self._call("GET", f"/session/{known(name)}/message/{message_id}")
        except Failure as failure:
            if failure.code is not Code.NOT_FOUND:
                raise
            return None
        return as_table(found)

    async def has_message(self, name: str, message_id: str) -> bool:
        """Return whether a conversation has a message."""
        return await self.message(name, message_id) is not None

    async def delete_message(self, name: str, message_id: str) -> None:
        """Delete a message, if it is there. Raises Failure: UNAVAILABLE while a reply runs."""
        await self._call("DELETE", f"/session/{known(name)}/message/{message_id}")

    async def status(self, name: str) -> Table:
        """Return what a conversation is doing; empty if it is idle."""
        return table(as_table(await self._call("GET", "/session/status")), name)

    async def permissions(self) -> list[Table]:
        """Return the open requests for permission, in all conversations."""
        return as_tables(await self._call("GET", "/permission"))

    async def questions(self) -> list[Table]:
        """Return the open questions, in all conversations."""
        return as_tables(await self._call("GET", "/question"))

    async def settle(self, settlement: Settlement) -> None:
        """Answer a permission or a question. Raises Failure: NOT_FOUND if it is settled already."""
        await self._call("POST", settlement.path, body=settlement.body)

    @asynccontextmanager
    async def events(self) -> AsyncGenerator[aiohttp.StreamReader, None]:
        """Open the event stream; network errors inside the block are raised as Failure too."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=SILENCE)
        async with self._answer("GET", "/event", timeout=timeout) as answer:
            if answer.content_type != "text/event-stream":
                raise _failure(_OTHER)
            yield answer.content

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> object:
        try:
            async with (
                asyncio.timeout(self._call_timeout),
                self._answer(method, path, query, body) as answer,
            ):
                return await _json(answer)
        except TimeoutError:
            raise _failure(_SLOW) from None

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        where = {"directory": self.directory} if self.directory else {}
        try:
            async with self._session.request(
                method,
                self._base.joinpath(path.lstrip("/")).with_query({**(query or {}), **where}),
                json=body,
                allow_redirects=False,
                timeout=timeout
                or aiohttp.ClientTimeout(total=self._call_timeout, sock_connect=_CONNECT),
            ) as answer:
                if answer.status not in (200, 204):
                    raise _refusal(answer.status)
                yield answer
        except TimeoutError:
            raise _failure(_SLOW) from None
        except (aiohttp.ClientError, OSError):
            raise _failure(_AWAY) from None


def known(name: str) -> str:
    """Return a conversation's id for a URL. Raises Failure: NOT_FOUND if it cannot be an id."""
    if not _CONVERSATION.fullmatch(name):
        raise unknown(name)
    return name


def unknown(name: str) -> Failure:
    """Return the Failure for a conversation that does not exist."""
    return Failure(Code.NOT_FOUND, f"there is no conversation {name[:80]!r}")


async def _json(answer: aiohttp.ClientResponse) -> object:
    """Return the decoded body. Raises Failure if it is not JSON: then it is not OpenCode."""
    if answer.status == 204:
        return None
    body = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > MAX_BODY:
            raise _failure(TOO_LONG)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _failure(_OTHER) from None


def _refusal(status: int) -> Failure:
    if status in _STATUS:
        code, message = _STATUS[status]
    elif status >= 500:
        code, message = Code.UNAVAILABLE, "the OpenCode server failed"
    else:
        return _failure(_OTHER)
    return Failure(code, message, retryable=code in _RETRYABLE)


def _failure(pattern: Failure) -> Failure:
    """Return a copy, because a raised exception keeps its traceback."""
    return Failure(pattern.code, pattern.message, retryable=pattern.retryable)
