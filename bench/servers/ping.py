"""The unary request of the benchmark: a message of bytes is answered with the same bytes."""

from google.protobuf.wrappers_pb2 import BytesValue

from actors import Registry, RequestActor


class Ping(RequestActor[BytesValue, BytesValue]):
    """Sends the bytes back. A plain function: there is nothing to wait for."""

    def handle(self, request: BytesValue) -> BytesValue:
        """The same bytes in a message of its own."""
        return BytesValue(value=request.value)


class CoroutinePing(RequestActor[BytesValue, BytesValue]):
    """The same as a coroutine function, as the peers have it."""

    async def handle(self, request: BytesValue) -> BytesValue:
        """The same bytes in a message of its own."""
        return BytesValue(value=request.value)


def register(registry: Registry) -> None:
    """What the service calls before it starts."""
    registry.register(BytesValue, Ping)


def register_coroutine(registry: Registry) -> None:
    """What it calls where the handler is to be a coroutine function."""
    registry.register(BytesValue, CoroutinePing)
