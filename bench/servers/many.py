"""BENCH_TYPES actor types, the benchmark's own one, and one that never answers."""

import asyncio
import os

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from actors import Registry, RequestActor
from bench.servers.ping import register as register_ping


class Wait(RequestActor[StringValue, StringValue]):
    """Stays in flight until it is cancelled."""

    async def handle(self, request: StringValue) -> StringValue:
        """Wait for ever."""
        await asyncio.Event().wait()
        return request


class Same(RequestActor[Message, Message]):
    """Sends its request back."""

    async def handle(self, request: Message) -> Message:
        """Return the same message."""
        return request


def register(registry: Registry) -> None:
    """Register all types; the service calls this before it starts."""
    register_ping(registry)
    registry.register(StringValue, Wait)
    for kind in _types(int(os.environ["BENCH_TYPES"])):
        registry.register(kind, Same)


def _types(count: int) -> list[type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="bench/many.proto", package="bench.many")
    for number in range(count):
        file.message_type.add(name=f"Message{number}")
    pool = descriptor_pool.Default()
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench.many.Message{number}"))
        for number in range(count)
    ]
