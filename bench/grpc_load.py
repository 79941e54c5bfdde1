"""The same workloads over gRPC: a unary call per request, a stream per reply."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import grpc
from google.protobuf.wrappers_pb2 import BytesValue

from bench.workloads import PAYLOAD, Clock, Sample
from callboard.v1.chat_pb2 import ChatToken, SendMessageRequest

Load: TypeAlias = Callable[[str, Clock], Awaitable[Sample]]

_OPTIONS: Final = [("grpc.use_local_subchannel_pool", 1)]


def _ping(channel: grpc.aio.Channel) -> grpc.aio.UnaryUnaryMultiCallable:
    return channel.unary_unary(
        "/bench.Bench/Ping", BytesValue.SerializeToString, BytesValue.FromString
    )


def calls(channels: int, in_flight: int, count: int) -> Load:
    """Return unary calls: W1 with one channel, W3 with many, latency with one call at a time."""

    async def run(address: str, clock: Clock) -> Sample:
        opened = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(channels)]
        pings = [_ping(channel) for channel in opened]
        request = BytesValue(value=PAYLOAD)
        for ping in pings:
            await ping(request)
        latencies: list[float] = []

        async def keep_calling(ping: grpc.aio.UnaryUnaryMultiCallable, times: int) -> None:
            for _ in range(times):
                began = time.perf_counter()
                await ping(request)
                latencies.append(time.perf_counter() - began)

        each = count // (channels * in_flight)
        cpu, wall = clock(), time.perf_counter()
        await asyncio.gather(
            *(keep_calling(ping, each) for ping in pings for _ in range(in_flight))
        )
        sample = Sample(
            each * channels * in_flight,
            clock() - cpu,
            time.perf_counter() - wall,
            sorted(latencies),
        )
        await asyncio.gather(*(channel.close() for channel in opened))
        return sample

    return run


def streams(tokens: int, at_once: int) -> Load:
    """Return the workload of `at_once` replies of `tokens` tokens, on one channel."""

    async def run(address: str, clock: Clock) -> Sample:
        text = f"[[repeat:{tokens}]]"
        async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
            await _ping(channel)(BytesValue())
            talk = channel.unary_stream(
                "/bench.Bench/Talk", SendMessageRequest.SerializeToString, ChatToken.FromString
            )

            async def read() -> int:
                return len([token async for token in talk(SendMessageRequest(text=text))])

            cpu, wall = clock(), time.perf_counter()
            counts = await asyncio.gather(*(read() for _ in range(at_once)))
            return Sample(sum(counts), clock() - cpu, time.perf_counter() - wall)

    return run


def loads(scale: Mapping[str, int]) -> dict[str, Load]:
    """Return the workloads by name, with a half to an eighth of the others' messages."""
    return {
        "W1": calls(1, 64, scale["calls"] // 8),
        "W2": streams(scale["tokens"] // 4, 1),
        "W2 x 50": streams(scale["slow"] // 4, 50),
        "W3": calls(scale["sockets"] // 5, 1, scale["sockets"] * scale["each"] // 5),
        "latency": calls(1, 1, scale["latency"] // 2),
    }
