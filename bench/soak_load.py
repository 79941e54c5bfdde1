"""Simulated users: they chat, cancel, leave, lose their connection, and come back."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from callboard.v1.chat_pb2 import (
    ChatToken,
    CreateSessionRequest,
    DeleteSessionRequest,
    ListSessionsRequest,
    SendMessageRequest,
    SessionDeleted,
    SessionInfo,
    SessionList,
)
from transport.client import Client, by_url
from transport.client.calls import ClientSettings
from transport.client.socket import AiohttpWebSocket, WebSockets
from transport.errors import RequestFailed

SETTINGS = ClientSettings(name="soak", window=64, backoff_initial=0.2, backoff_maximum=2.0)


@dataclass
class Tally:
    """What the users have done and seen."""

    requests: int = 0
    tokens: int = 0
    cuts: int = 0
    resumes: int = 0
    sessions: int = 0
    wrong: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    """Seconds from a request to its end, for undelayed replies without a cancel or a cut."""
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def opened(self) -> None:
        """Count a session that has created its conversation."""
        self.sessions += 1
        self.more.set()

    async def reached(self, sessions: int) -> None:
        """Wait until there have been this many sessions."""
        while self.sessions < sessions:
            self.more.clear()
            await self.more.wait()


class Cuttable:
    """Opens WebSockets, and can cut the latest one."""

    def __init__(self) -> None:
        self._inner = WebSockets()
        self._last: AiohttpWebSocket | None = None

    async def dial(self, url: str) -> AiohttpWebSocket:
        """Open a WebSocket and return it."""
        self._last = await self._inner.dial(url)
        return self._last

    async def close(self) -> None:
        """Close everything."""
        await self._inner.close()

    def cut(self) -> None:
        """Abort the latest connection."""
        if self._last is not None:
            self._last.abort()


class User:
    """One session after another, each with a conversation that is deleted at its end."""

    def __init__(self, url: str, token: str, draw: Random, tally: Tally, pause: float) -> None:
        self._find = by_url(url, token)
        self._draw = draw
        self._tally = tally
        self._pause = pause

    async def run(self, over: asyncio.Event) -> None:
        """Run sessions until `over` is set."""
        await _rest(self._draw.uniform(0.0, self._pause), over)
        while not over.is_set():
            dialer = Cuttable()
            client = Client(self._find, SETTINGS, random=self._draw.random, dialer=dialer)
            async with client:
                await self._session(client, dialer, over)
            self._tally.resumes += client.protocol.resumes

    async def _session(self, client: Client, dialer: Cuttable, over: asyncio.Event) -> None:
        made = await client.call(CreateSessionRequest(title="soak"), SessionInfo)
        self._tally.opened()
        for _ in range(self._draw.randrange(4, 12)):
            await self._exchange(client, dialer, made.id)
            if over.is_set():
                break
            await _rest(self._draw.expovariate(1 / self._pause), over)
        await client.call(DeleteSessionRequest(session_id=made.id), SessionDeleted)

    async def _exchange(self, client: Client, dialer: Cuttable, conversation: str) -> None:
        self._tally.requests += 1
        match self._draw.randrange(10):
            case 0:
                with suppress(RequestFailed):
                    await self._reply(client, conversation, "[[delay:5]][[repeat:200]]", leave=20)
            case 1:
                await client.call(ListSessionsRequest(), SessionList)
            case 2 | 3:
                self._tally.cuts += 1
                await self._reply(client, conversation, "[[delay:5]][[repeat:60]]", dialer=dialer)
            case _:
                began = asyncio.get_running_loop().time()
                await self._reply(client, conversation, "[[repeat:60]]")
                self._tally.latencies.append(asyncio.get_running_loop().time() - began)

    async def _reply(
        self,
        client: Client,
        conversation: str,
        text: str,
        *,
        leave: int = 0,
        dialer: Cuttable | None = None,
    ) -> None:
        request = SendMessageRequest(session_id=conversation, text=text)
        got: list[str] = []
        async for token in client.stream(request, ChatToken):
            got.append(token.text)
            self._tally.tokens += 1
            if len(got) == leave:
                return
            if dialer is not None and len(got) == 20:
                dialer.cut()
        if got != [f"{number:03} " for number in range(60)]:
            self._tally.wrong.append(f"{len(got)} tokens of 60")


async def _rest(seconds: float, over: asyncio.Event) -> None:
    """Wait this long, or until `over` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await over.wait()
