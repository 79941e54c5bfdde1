"""The benchmark's unary request: a message of bytes is answered with the same bytes."""

from google.protobuf.wrappers_pb2 import BytesValue

from actors import Registry, RequestActor


class Ping(RequestActor[BytesValue, BytesValue]):
    """Sends the bytes back, in a plain function: there is nothing to wait for."""

    def handle(self, request: BytesValue) -> BytesValue:
        """Return the bytes in a new message."""
        return BytesValue(value=request.value)


class CoroutinePing(RequestActor[BytesValue, BytesValue]):
    """The same with a coroutine function, as in the other servers."""

    async def handle(self, request: BytesValue) -> BytesValue:
        """Return the bytes in a new message."""
        return BytesValue(value=request.value)


def register(registry: Registry) -> None:
    """Register Ping; the service calls this before it starts."""
    registry.register(BytesValue, Ping)


def register_coroutine(registry: Registry) -> None:
    """Register CoroutinePing; the service calls this instead for coroutine handlers."""
    registry.register(BytesValue, CoroutinePing)
