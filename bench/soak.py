"""`make soak`: run many sessions for minutes, with disconnects, and check for growth.

This prints and plots (SVG) what it measured. It fails if memory, tasks or descriptors of the
service grow after the warm-up, if a reply is incomplete, or if tasks or descriptors are left after
all clients have gone. It then measures how one client that never reads affects 99 others, and fails
if that client costs more than 24 MiB.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random, randrange
from statistics import median, quantiles

from bench.soak_load import SETTINGS, Tally, User
from bench.soak_plot import lines
from callboard.v1.chat_pb2 import ChatToken, CreateSessionRequest, SendMessageRequest, SessionInfo
from callboard.v1.envelope_pb2 import ClientMessage
from callboard.v1.session_pb2 import Hello
from transport.client import Client, by_url
from transport.client.socket import WebSockets

MIB = 1024 * 1024
WARM_UP = 0.4
"""The share of the time that is not judged."""

ALLOWED = {"rss": (0.05, 6 * MIB), "tasks": (0.10, 20), "descriptors": (0.05, 20)}
"""Growth allowed from the first to the last third after the warm-up: a share, and an amount."""


class Watched:
    """The service's process and its samples."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, token: str) -> None:
        self.url = url
        self.token = token
        self.samples: list[dict[str, float]] = []
        self._process = process
        self._reader = asyncio.create_task(self._read())
        self._came = asyncio.Event()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.samples.append(json.loads(line))
            self._came.set()

    async def samples_to_come(self, count: int) -> list[dict[str, float]]:
        """Wait for `count` more samples and return those that came."""
        there = len(self.samples)
        while len(self.samples) < there + count:
            self._came.clear()
            await self._came.wait()
        return self.samples[there:]

    async def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        await self._process.wait()
        await self._reader


@asynccontextmanager
async def serving(sessions: int) -> AsyncIterator[Watched]:
    """Run a service that accepts this many sessions."""
    with tempfile.TemporaryDirectory() as folder:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CALLBOARD_")}
        settings = {
            "BACKEND": "echo", "RUNTIME_DIR": f"{folder}/run", "DATA_DIR": f"{folder}/data",
            "MAX_SESSIONS": str(2 * sessions + 100), "MAX_HANDSHAKES": str(sessions + 100),
            "RESUME_WINDOW_MS": "30000", "DRAIN_MS": "0", "SLOW_CONSUMER_MS": "5000",
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.soak_service", stdout=asyncio.subprocess.PIPE,
            env=kept | {f"CALLBOARD_{name}": value for name, value in settings.items()},
        )  # fmt: skip
        assert process.stdout is not None
        ready = json.loads(await process.stdout.readline())
        watched = Watched(process, ready["url"], ready["token"])
        try:
            yield watched
        finally:
            await watched.stop()


# -- the soak --------------------------------------------------------------------------------


async def soak(
    watched: Watched, sessions: int, seconds: float, seed: int
) -> tuple[Tally, list[str]]:
    """Run the load; return what was done and what is wrong."""
    draw, tally = Random(seed), Tally()
    before = (await watched.samples_to_come(2))[-1]
    pause = max(2.0, sessions / 50)
    users = [
        User(watched.url, watched.token, Random(draw.random()), tally, pause)
        for _ in range(sessions)
    ]
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for user in users:
            group.create_task(user.run(over))
        await tally.reached(sessions)
        first = len(watched.samples)
        await asyncio.sleep(seconds)
        loaded = watched.samples[first:]
        over.set()
    after = (await watched.samples_to_come(3))[-1]
    wrong = tally.wrong[:5] + grown(loaded)
    for what in ("tasks", "descriptors"):
        if after[what] > before[what] + 2:
            wrong.append(f"{what}: {before[what]:.0f} before, {after[what]:.0f} when all had gone")
    report(tally, loaded, before, after)
    return tally, wrong


def grown(samples: list[dict[str, float]]) -> list[str]:
    """Return what grew from the first third of the time after the warm-up to the last."""
    judged = samples[int(len(samples) * WARM_UP) :]
    third = len(judged) // 3
    wrong: list[str] = []
    for what, (part, more) in ALLOWED.items():
        early = median(sample[what] for sample in judged[:third])
        late = median(sample[what] for sample in judged[-third:])
        if late > early * (1 + part) + more:
            wrong.append(f"{what} grew from {early:.0f} to {late:.0f}")
    return wrong


def report(
    tally: Tally, loaded: list[dict[str, float]], before: dict[str, float], after: dict[str, float]
) -> None:
    """Print what was measured."""
    late = loaded[-max(len(loaded) // 3, 1) :]
    cpu = (loaded[-1]["cpu"] - loaded[0]["cpu"]) / max(len(loaded) - 1, 1)
    print(
        f"{tally.requests} requests, {tally.tokens} tokens, {tally.sessions} sessions, "
        f"{tally.cuts} cuts, {tally.resumes} resumes; service at {cpu:.0%} of a core"
    )
    print(f"p99 of a reply of 60 tokens: {p99(tally.latencies) * 1000:.0f} ms")
    for what, unit in (("rss", MIB), ("tasks", 1), ("descriptors", 1)):
        under = median(sample[what] for sample in late) / unit
        ends = f"{before[what] / unit:.0f} before, {after[what] / unit:.0f} after"
        print(f"{what}: {under:.0f} under load, {ends}")


def p99(values: list[float]) -> float:
    """Return the 99th percentile, or NaN for fewer than two values."""
    return quantiles(values, n=100)[98] if len(values) > 1 else float("nan")


def draw(samples: list[dict[str, float]], path: Path) -> None:
    """Plot memory, tasks and descriptors over time."""
    panels = {
        "memory (MiB)": [sample["rss"] / MIB for sample in samples],
        "tasks": [sample["tasks"] for sample in samples],
        "descriptors": [sample["descriptors"] for sample in samples],
    }
    path.write_text(lines("The service under the soak", panels), encoding="utf-8")


# -- one client that never reads -------------------------------------------------------------


async def neighbours(watched: Watched, seconds: float) -> list[str]:
    """Measure how a client that never reads affects 99 others; return what is wrong."""
    alone = await good_clients(watched, seconds)
    before = watched.samples[-1]["rss"]
    deaf = asyncio.create_task(never_read(watched))
    await watched.samples_to_come(1)
    beside = await good_clients(watched, seconds)
    most = max(sample["rss"] for sample in watched.samples[-int(seconds) :]) - before
    deaf.cancel()
    await asyncio.wait([deaf])
    print(
        f"p99 of 99 clients: {p99(alone) * 1000:.1f} ms alone, {p99(beside) * 1000:.1f} ms "
        f"beside one that never reads; memory {most / MIB:+.1f} MiB"
    )
    return [f"one that never reads cost {most / MIB:.0f} MiB"] if most > 24 * MIB else []


async def good_clients(watched: Watched, seconds: float) -> list[float]:
    """Return the seconds per request of 99 clients that ask for 20 tokens now and then."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    end = loop.time() + seconds

    async def good(draw: Random) -> None:
        async with Client(by_url(watched.url, watched.token), SETTINGS) as client:
            made = await client.call(CreateSessionRequest(), SessionInfo)
            request = SendMessageRequest(session_id=made.id, text="[[repeat:20]]")
            while loop.time() < end:
                await asyncio.sleep(draw.uniform(0.5, 1.5))
                began = loop.time()
                async for _ in client.stream(request, ChatToken):
                    pass
                latencies.append(loop.time() - began)

    async with asyncio.TaskGroup() as group:
        for number in range(99):
            group.create_task(good(Random(number)))
    return latencies


async def never_read(watched: Watched) -> None:
    """Send 200 requests for a million tokens each, and read no answer until cancelled."""
    dialer = WebSockets()
    conversation = Client(by_url(watched.url, watched.token), SETTINGS)
    async with conversation as client:
        made = await client.call(CreateSessionRequest(), SessionInfo)
        try:
            carrier = await dialer.dial(watched.url)
            await carrier.send(
                [ClientMessage(hello=Hello(token=watched.token)).SerializeToString()]
            )
            for number in range(1, 201):
                asking = SendMessageRequest(session_id=made.id, text="[[repeat:1000000]]")
                frame = ClientMessage(request_id=number, send_message=asking)
                await carrier.send([frame.SerializeToString()])
            await asyncio.get_running_loop().create_future()
        finally:
            await dialer.close()


async def main() -> int:
    """Run the soak and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=randrange(2**32))
    parser.add_argument("--plot", type=Path, default=Path("soak.svg"))
    wish = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"{wish.sessions} sessions for {wish.seconds:.0f} s, seed {wish.seed}", flush=True)
    async with serving(wish.sessions) as watched:
        _, wrong = await soak(watched, wish.sessions, wish.seconds, wish.seed)
        draw(watched.samples, wish.plot)
        wrong += await neighbours(watched, min(max(wish.seconds / 6, 5.0), 30.0))
    print(f"plot: {wish.plot}")
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
