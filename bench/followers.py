"""What followers cost: `python -m bench.followers [FOLLOWERS]`.

One conversation gets a reply of 50 tokens a second; it is followed by as many streams as said (100
by default), a quarter of them in each of four sessions. Prints the share of a core that the service
uses without followers, with them, and with one more that never reads; the delay of events at the
others in both cases; and how far the service's memory grows. It ends by itself after some 40 s.
"""

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from statistics import median, quantiles
from typing import Final

import psutil

from bench.started import TOKEN, service
from callboard.v1.chat_pb2 import (
    ConversationEvent,
    CreateSessionRequest,
    FollowSessionRequest,
    SessionInfo,
)
from transport.client import Client, by_url
from transport.client.calls import ClientSettings

TOKENS: Final = 500
TEXT: Final = f"[[delay:20]][[repeat:{TOKENS}]]"
SESSIONS: Final = 4


async def reply(client: Client, conversation: str) -> None:
    """Send the message and take its reply."""
    async with client.send(conversation, TEXT) as stream:
        async for _ in stream:
            pass


async def follow(
    client: Client, conversation: str, delays: list[float], ready: asyncio.Event
) -> None:
    """Follow, and note by how much each event comes later than the first client had it."""
    request = FollowSessionRequest(session_id=conversation)
    async with client.stream(request, ConversationEvent) as events:
        async for event in events:
            ready.set()
            now = time.perf_counter()
            first = FIRST.setdefault(event.position, now)
            if event.HasField("token"):
                delays.append(now - first)


FIRST: dict[int, float] = {}


async def measure(url: str, process: psutil.Process, followers: int, *, stuck: bool) -> None:
    """Run one reply with this many followers and print what it cost."""
    find, settings = by_url(url, TOKEN), ClientSettings(features=("follow",))
    delays: list[float] = []
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(Client(find, settings))
        conversation = (await sender.call(CreateSessionRequest(), SessionInfo)).id
        clients = [await stack.enter_async_context(Client(find, settings)) for _ in range(SESSIONS)]
        tasks, events = [], []
        for number in range(followers):
            events.append(asyncio.Event())
            client = clients[number % SESSIONS]
            tasks.append(asyncio.create_task(follow(client, conversation, delays, events[-1])))
        for ready in events:
            await ready.wait()
        if stuck:
            slow = await stack.enter_async_context(Client(find, ClientSettings(window=1)))
            _ = slow.stream(FollowSessionRequest(session_id=conversation), ConversationEvent)
        before, began = process.cpu_times(), time.perf_counter()
        memory = process.memory_info().rss
        await reply(sender, conversation)
        took, after = time.perf_counter() - began, process.cpu_times()
        cpu = (after.user + after.system - before.user - before.system) / took
        grown = (process.memory_info().rss - memory) / 2**20
        late = quantiles(delays, n=100)[98] if len(delays) > 1 else 0.0
        print(
            f"{followers:4} followers{', one that never reads' if stuck else ''}: "
            f"{cpu:.3f} of a core, {TOKENS / took:.0f} tokens/s, events later than the first "
            f"client's: median {1000 * median(delays or [0.0]):.2f} ms, p99 {1000 * late:.2f} ms; "
            f"memory {grown:+.1f} MiB"
        )
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def main() -> None:
    """Measure with none, one and all followers."""
    followers = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with service() as (url, process):
        for count, stuck in ((0, False), (1, False), (followers, False), (followers, True)):
            await measure(url, process, count, stuck=stuck)


if __name__ == "__main__":
    asyncio.run(main())
