"""Users during the faults, who send requests of every kind and check each to its end."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatNotice,
    ChatToken,
    CreateSessionRequest,
    GetHistoryRequest,
    History,
    ListSessionsRequest,
    SendMessageRequest,
    SessionInfo,
    SessionList,
)
from transport.client import Client
from transport.client.stream import Stream
from transport.errors import RequestFailed

PAGE: Final = 200


class Ledger:
    """Counts the requests of all users, and how they ended."""

    def __init__(self) -> None:
        self.opened = 0
        self.ended: Counter[str] = Counter()
        self.tokens = 0


class User:
    """Has one conversation with the backend `echo`, one request at a time."""

    def __init__(self, client: Client, draw: Random, ledger: Ledger) -> None:
        self._client = client
        self._draw = draw
        self._ledger = ledger
        self._conversation = ""
        self._number = 0
        self._completed: set[str] = set()
        self._sent: set[str] = set()

    async def run(self, done: Callable[[], bool]) -> None:
        """Send requests until `done`, then check the history of the conversation."""
        made = await self._client.call(CreateSessionRequest(), SessionInfo)
        self._conversation = made.id
        jobs: list[Callable[[], Awaitable[str]]] = [
            *[self._count] * 5, *[self._cancel] * 2, self._leave, self._ask, self._fail,
            self._run_late, self._look,
        ]  # fmt: skip
        while not done():
            self._ledger.opened += 1
            self._ledger.ended[await self._draw.choice(jobs)()] += 1
        await self._check_history()

    def _say(
        self, text: str, timeout: float | None = None
    ) -> Stream[ChatToken | ChatNotice | AskEvent | AskClosed | ChatCompleted]:
        self._number += 1
        self._text = f"<{self._number}>{text}"
        self._sent.add(self._text)
        request = SendMessageRequest(session_id=self._conversation, text=self._text)
        return self._client.stream(
            request, ChatToken, ChatNotice, AskEvent, AskClosed, ChatCompleted, timeout=timeout
        )

    def _expected(self, count: int) -> list[str]:
        return [f"<{self._number}>", *(f"{number % 1000:03} " for number in range(count))]

    async def _count(self) -> str:
        count = self._draw.choice((0, 1, 10, 60, 200))
        pause = self._draw.choice(("", "", "[[delay:1]]"))
        got: list[str] = []
        completed = 0
        async for answer in self._say(f"{pause}[[repeat:{count}]]"):
            assert not completed
            if isinstance(answer, ChatToken):
                got.append(answer.text)
            completed += isinstance(answer, ChatCompleted)
        assert completed == 1
        assert got == self._expected(count), (got, self._expected(count))
        self._ledger.tokens += len(got)
        self._completed.add(self._text)
        return "completed"

    async def _cancel(self) -> str:
        """Cancel after some tokens or none, and read to the end; the reply may complete first."""
        stream = self._say("[[delay:1]][[repeat:200]]")
        after, got = self._draw.randrange(30), 0
        if not after:
            stream.cancel()
        try:
            async for answer in stream:
                got += isinstance(answer, ChatToken)
                if got == after:
                    stream.cancel()
        except RequestFailed as failed:
            assert failed.code is Code.CANCELLED, failed
            return "cancelled"
        assert got == 201
        return "completed in spite of the cancel"

    async def _leave(self) -> str:
        after = self._draw.randrange(1, 30)
        async for answer in self._say("[[delay:1]][[repeat:200]]"):
            after -= isinstance(answer, ChatToken)
            if not after:
                break
        return "left"

    async def _ask(self) -> str:
        stream = self._say("[[ask:question]][[repeat:3]]")
        got: list[str] = []
        async for answer in stream:
            match answer:
                case AskEvent():
                    got.append("asked")
                    stream.answer(answer.ask_id, ["maybe"])
                case AskClosed():
                    got.append(f"closed {list(answer.answers)}")
                case ChatToken():
                    got.append(answer.text)
                case _:
                    pass
        assert got == [f"<{self._number}>", "asked", "closed ['maybe']", "000 ", "001 ", "002 "], (
            got
        )
        self._completed.add(self._text)
        return "answered"

    async def _fail(self) -> str:
        got = 0
        try:
            async for answer in self._say("[[repeat:20]][[error:FAILED_PRECONDITION]]"):
                got += isinstance(answer, ChatToken)
        except RequestFailed as failed:
            assert failed.code is Code.FAILED_PRECONDITION, failed
            assert got == 21
            return "failed"
        raise AssertionError("it did not fail")

    async def _run_late(self) -> str:
        try:
            async for _ in self._say("[[delay:20]][[repeat:100]]", timeout=0.1):
                pass
        except RequestFailed as failed:
            assert failed.code is Code.DEADLINE_EXCEEDED, failed
            return "late"
        raise AssertionError("it was not late")

    async def _look(self) -> str:
        listed = await self._client.call(ListSessionsRequest(), SessionList)
        assert self._conversation in {info.id for info in listed.sessions}
        return "listed"

    async def _check_history(self) -> None:
        """Check that each message was handled at most once, and each completed one once."""
        said: Counter[str] = Counter()
        before, more = "", True
        while more:
            request = GetHistoryRequest(session_id=self._conversation, limit=PAGE, before=before)
            page = await self._client.call(request, History)
            said.update(entry.user_text for entry in page.entries if entry.HasField("user_text"))
            more = page.more
            before = page.entries[0].id if page.entries else ""
        assert max(said.values(), default=1) == 1, "a request has run twice"
        assert self._completed <= set(said) <= self._sent


async def all_of(users: list[User], done: Callable[[], bool]) -> None:
    """Run the users concurrently; the first failure ends all."""
    async with asyncio.TaskGroup() as group:
        for user in users:
            group.create_task(user.run(done))
