"""An extension with misbehaving handlers, which the tests load into a service."""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Never

from google.protobuf.wrappers_pb2 import BoolValue, BytesValue, Int64Value, StringValue

from actors import Actor, Registry, RequestActor, StreamActor, Yielded


async def swallow() -> None:
    """Run forever and ignore cancellation."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


def fail_in_a_timer() -> None:
    """Raise SystemExit in a callback of the event loop."""
    sys.exit(4)


def hold_logging() -> None:
    """Hold the lock that every change to a logger needs, for 45 s."""
    with logging._lock:  # type: ignore[attr-defined]  # private to logging
        time.sleep(45)


class Odd(RequestActor[StringValue, StringValue]):
    """Misbehaves in the way that the request names."""

    async def handle(self, request: StringValue) -> StringValue:
        match request.value:
            case "exit":
                sys.exit(3)
            case "interrupt":
                raise KeyboardInterrupt
            case "timer":
                self.context.clock.call_later(0.0, fail_in_a_timer)
            case "task":
                await asyncio.gather(asyncio.create_task(self._exit()), return_exceptions=True)
            case "thread":
                await asyncio.to_thread(time.sleep, 45)
            case "threads":
                threading.Thread(target=time.sleep, args=(45,)).start()
            case "swallow":
                await swallow()
            case "block":
                self.context.log.warning("blocking")
                time.sleep(45)  # noqa: ASYNC251 - it must block the event loop
            case "calculate":
                self.context.log.warning("calculating")
                await asyncio.sleep(0.5)  # for the log thread to write that line
                _ = int("7") ** 200_000_000  # minutes in C code that holds the interpreter lock
            case "stop the loop":
                asyncio.get_running_loop().stop()
            case "cancel all":
                for task in asyncio.all_tasks():
                    task.cancel()
            case "hold the logging lock":
                threading.Thread(target=hold_logging, daemon=True).start()
            case "print":
                for stream in (sys.stdout, sys.stderr):
                    print("x" * 1000, file=stream)
            case _:
                pass
        return request

    async def _exit(self) -> None:
        sys.exit(5)


class Plain(RequestActor[BytesValue, BytesValue]):
    """Raises SystemExit in a synchronous handler."""

    def handle(self, request: BytesValue) -> BytesValue:
        sys.exit(3)


class Streaming(StreamActor[Int64Value, Int64Value]):
    """Raises SystemExit after its first answer."""

    async def handle(self, request: Int64Value) -> AsyncIterator[Yielded[Int64Value]]:
        yield request
        sys.exit(3)


class Following(StreamActor[BoolValue, BoolValue]):
    """Answers once, and then follows nothing for ever."""

    endless = True

    async def handle(self, request: BoolValue) -> AsyncIterator[Yielded[BoolValue]]:
        yield request
        await asyncio.Event().wait()


class Hanging(Actor[Never]):
    """Never finishes stopping."""

    async def stopped(self) -> None:
        await swallow()

    def receive(self, message: Never) -> None:
        """Do nothing."""


def register(registry: Registry) -> None:
    """Register all handlers."""
    registry.register(StringValue, Odd)
    registry.register(BytesValue, Plain)
    registry.register(Int64Value, Streaming)
    registry.register(BoolValue, Following)


def register_hanging(registry: Registry) -> None:
    """Register all handlers, and a background actor that hangs when it is stopped."""
    register(registry)
    registry.supervise("hanging", Hanging)
