from google.protobuf.wrappers_pb2 import StringValue

from actors import ActorSystem, Registry, RequestActor
from actors.testing import actor_events, actor_system, manual_clock, serving
from callboard_service import request_log

__all__ = ["actor_events", "actor_system", "manual_clock"]


class Slow(RequestActor[StringValue, StringValue]):
    async def handle(self, request: StringValue) -> StringValue:
        return request


def register(registry: Registry) -> None:
    registry.register(StringValue, Slow)


async def test_a_request_is_a_line_with_nothing_of_what_was_said(actor_system: ActorSystem) -> None:
    async with serving(actor_system, request_log.register, register) as calls:
        await calls.call(StringValue(value="a secret"), StringValue)
        ((event, fields),) = calls.log.lines
        assert event == "request"
        assert fields == {
            "session": "test",
            "request": 1,
            "type": "StringValue",
            "code": "OK",
            "answers": 0,
            "seconds": 0.0,
        }
