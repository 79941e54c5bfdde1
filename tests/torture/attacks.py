"""Hostile clients. All but three use a valid token.

Each runs until it is cancelled; an attack that ends earlier is started again by its caller.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from tests.e2e.contract_client import message
from tests.security.raw import (
    PING,
    Raw,
    client_message,
    frame,
    greeted,
    hello,
    plain,
    refused,
    upgraded,
)

BIG: Final = ("x" * 999 + " ") * 700
"""A text of 700 kB, in words that every tokenizer can handle."""

ENDLESS: Final = "[[delay:1000]][[repeat:100000]]"
"""A reply of the backend `echo` that takes a day; other backends reply with some text."""


@dataclass(frozen=True, slots=True)
class Victim:
    """The service that is attacked."""

    port: int
    token: str


Attack = Callable[[Victim, Random], Awaitable[None]]


def request(number: int, **payload: Any) -> bytes:
    """Return a frame that opens a request."""
    return frame(client_message(number, **payload))


def say(number: int, conversation: str, text: str) -> bytes:
    """Return a frame that sends a message."""
    return request(
        number, send_message=message("SendMessageRequest", session_id=conversation, text=text)
    )


async def ends(raw: Raw, count: int) -> list[Any]:
    """Read until this many requests have ended, and return their final answers."""
    found: list[Any] = []
    while len(found) < count:
        answer = await raw.answer()
        if answer.end:
            found.append(answer)
    return found


async def create(raw: Raw, first: int, count: int, title: str = "") -> list[str]:
    """Make conversations with the request ids from `first` on, and return their ids."""
    making = message("CreateSessionRequest", title=title)
    made: list[str] = []
    for start in range(first, first + count, 100):
        numbers = range(start, min(start + 100, first + count))
        await raw.send(*(request(number, create_session=making) for number in numbers))
        made += [a.session_info.id for a in await ends(raw, len(numbers))]
        await asyncio.sleep(0.2)  # stays within the rate limit, also for what follows
    if not any(made):
        raise ConnectionError("the service makes no conversations now")
    return [conversation for conversation in made if conversation]


async def drain(raw: Raw) -> None:
    """Read until the connection ends."""
    with contextlib.suppress(ConnectionError, AssertionError):
        while await raw.reader.read(65536):
            pass


async def unread_history(victim: Victim, _random: Random) -> None:
    async with greeted(victim) as raw:
        (conversation,) = await create(raw, 1, 1)
        for number in range(2, 14):
            await raw.send(say(number, conversation, BIG))
            await asyncio.sleep(0.1)
            await raw.send(frame(client_message(number, cancel=message("CancelRequest"))))
            await ends(raw, 1)
        page = message("GetHistoryRequest", session_id=conversation)
        await raw.send(*(request(number, get_history=page) for number in range(14, 54)))
        await asyncio.sleep(8.0)


async def unread_lists(victim: Victim, _random: Random) -> None:
    async with greeted(victim) as raw:
        await create(raw, 1, 1000, "one of many " * 50)
        listing = message("ListSessionsRequest")
        await raw.send(*(request(number, list_sessions=listing) for number in range(2000, 2250)))
        await asyncio.get_running_loop().create_future()  # there are enough conversations


async def big_answers(victim: Victim, _random: Random) -> None:
    async with greeted(victim) as raw:
        (conversation,) = await create(raw, 1, 1)
        await raw.send(say(2, conversation, ENDLESS))
        answer = message("AnswerRequest", ask_id="none", answers=["x" * 1_000_000])
        data = frame(client_message(2, answer=answer))
        reading = asyncio.create_task(drain(raw))
        try:
            for _again in range(300):
                await raw.send(data)
                await asyncio.sleep(0.03)
        finally:
            reading.cancel()


async def reconnects(victim: Victim, _random: Random) -> None:
    async def reconnect() -> None:
        while True:
            with contextlib.suppress(OSError, AssertionError, TimeoutError):
                async with greeted(victim) as raw:
                    raw.reset()
            await asyncio.sleep(0.02)

    await _side_by_side([reconnect] * 8)


async def silent_sockets(victim: Victim, _random: Random) -> None:
    async def hold() -> None:
        while True:
            with contextlib.suppress(OSError, AssertionError, TimeoutError):
                async with upgraded(victim) as raw:
                    await raw.end()
            await asyncio.sleep(0.05)

    await _side_by_side([hold] * 130)


async def credit_one(victim: Victim, _random: Random) -> None:
    async with greeted(victim, initial_credit=1) as raw:
        conversations = await create(raw, 1, 250)
        for number, conversation in enumerate(conversations, 300):
            await raw.send(say(number, conversation, "Tell a story. [[repeat:100000]]"))
        await drain(raw)


async def flood(victim: Victim, draw: Random) -> None:
    async with greeted(victim) as raw:
        unknown = message("GetHistoryRequest", session_id="none")
        requests = (
            {"list_sessions": message("ListSessionsRequest", limit=5)},
            {"get_history": unknown},
            {"create_session": message("CreateSessionRequest", title="flood")},
        )
        reading = asyncio.create_task(drain(raw))
        try:
            for first in range(1, 1_000_000, 20):
                drawn = draw.choices(requests, (60, 35, 5), k=20)
                await raw.send(*(request(first + n, **r) for n, r in enumerate(drawn)))
                await asyncio.sleep(0.04)
        finally:
            reading.cancel()


async def big_messages(victim: Victim, draw: Random) -> None:
    async with greeted(victim) as raw:
        conversations = await create(raw, 1, 4)
        reading = asyncio.create_task(drain(raw))
        try:
            for number in range(10, 1_000_000):
                if draw.random() < 0.3:
                    page = message("GetHistoryRequest", session_id="x" * 900_000)
                    await raw.send(request(number, get_history=page))
                else:
                    await raw.send(say(number, draw.choice(conversations), BIG))
                    stop = frame(client_message(number, cancel=message("CancelRequest")))
                    await raw.send(stop)
                await asyncio.sleep(0.12)
        finally:
            reading.cancel()


async def empty_frames(victim: Victim, draw: Random) -> None:
    bursts = (frame(b""), frame(b"", PING), frame(client_message(ping=message("Ping", nonce=1))))
    while True:
        async with greeted(victim) as raw:
            with contextlib.suppress(ConnectionError, TimeoutError):
                await raw.send(draw.choice(bursts) * 50_000)
                async with asyncio.timeout(2.0):
                    await raw.end()
        await asyncio.sleep(draw.uniform(0.5, 1.5))


async def foreign_origin(victim: Victim, _random: Random) -> None:
    async def knock() -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError, EOFError):
                await refused(victim, [("Origin", "https://elsewhere.example")])
            await asyncio.sleep(0.02)

    await _side_by_side([knock] * 6)


async def slow_headers(victim: Victim, _random: Random) -> None:
    async def drip() -> None:
        while True:
            with contextlib.suppress(OSError):
                async with plain(victim) as raw:
                    await raw.send(
                        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{victim.port}\r\nX: ".encode()
                    )
                    while not raw.reader.at_eof():
                        await raw.send(b"x")
                        await asyncio.sleep(1.0)
            await asyncio.sleep(0.05)

    await _side_by_side([drip] * 200)


async def takeovers(victim: Victim, _random: Random) -> None:
    async with contextlib.AsyncExitStack() as held:
        raw, token = await held.enter_async_context(_welcomed(victim))
        (conversation,) = await create(raw, 1, 1)
        await raw.send(say(2, conversation, ENDLESS))
        while True:
            resume = message("Resume", resume_token=token, last_sequence=1)
            before = held.pop_all()
            _, token = await held.enter_async_context(_welcomed(victim, resume=resume))
            await before.aclose()
            await asyncio.sleep(0.03)


@contextlib.asynccontextmanager
async def _welcomed(victim: Victim, **fields: Any) -> AsyncIterator[tuple[Raw, bytes]]:
    """Yield a connection after Welcome, and the resume token."""
    async with upgraded(victim) as raw:
        await raw.send(frame(hello(victim.token, **fields)))
        answer = await raw.answer()
        assert answer.HasField("welcome")
        yield raw, answer.welcome.resume_token


async def _side_by_side(several: Sequence[Callable[[], Awaitable[None]]]) -> None:
    await asyncio.gather(*(one() for one in several))


ATTACKS: Final[dict[str, Attack]] = {
    "unread-history": unread_history,
    "unread-lists": unread_lists,
    "big-answers": big_answers,
    "reconnects": reconnects,
    "silent-sockets": silent_sockets,
    "credit-one": credit_one,
    "flood": flood,
    "big-messages": big_messages,
    "empty-frames": empty_frames,
    "foreign-origin": foreign_origin,
    "slow-headers": slow_headers,
    "takeovers": takeovers,
}
