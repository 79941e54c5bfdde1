"""The unary request of the benchmark, answered by a coroutine function."""

from google.protobuf.wrappers_pb2 import BytesValue

from actors import Registry, RequestActor


class CoroutinePing(RequestActor[BytesValue, BytesValue]):
    """Sends the bytes back, in a task of its own."""

    async def handle(self, request: BytesValue) -> BytesValue:
        """The same bytes in a message of its own."""
        return BytesValue(value=request.value)


def register(registry: Registry) -> None:
    """What the service calls before it starts."""
    registry.register(BytesValue, CoroutinePing)
