"""The memory of a request is freed at its end, without the garbage collector.

The collector counts objects and not bytes, so it could run too late.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from actors.testing import settle
from callboard.v1.chat_pb2 import (
    CancelRequest,
    CreateSessionRequest,
    GetHistoryRequest,
    SendMessageRequest,
)
from callboard.v1.envelope_pb2 import ClientMessage
from tests.support.fed import Fed
from tests.test_costs import fed, shared

__all__ = ["fed", "shared"]

LARGE = "x" * 500
TIMES = 5


@contextmanager
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture
async def conversation(fed: Fed) -> AsyncIterator[str]:
    fed.feed(ClientMessage(request_id=fed.next_id(), create_session=CreateSessionRequest()))
    (made,) = await fed.finish()
    with without_collector():
        yield made.session_info.id


def left() -> list[str]:
    """Return the types of the requests that are still in memory."""
    kinds = (CreateSessionRequest, GetHistoryRequest, SendMessageRequest)
    return [type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds)]


async def assert_nothing_left() -> None:
    """Check that no request is left once the store's thread has written what handlers keep."""
    for _ in range(1000):
        await settle()
        if not left():
            return
        await asyncio.sleep(0.01)
    assert left() == []


async def test_a_refused_request_leaves_nothing(fed: Fed, conversation: str) -> None:
    for _ in range(TIMES):
        message = CreateSessionRequest(title=3 * LARGE)
        fed.feed(ClientMessage(request_id=fed.next_id(), create_session=message))
        assert (await fed.finish())[-1].error.code == "INVALID_ARGUMENT"
        del message
    await assert_nothing_left()


async def test_a_request_that_waited_and_was_refused_leaves_nothing(
    fed: Fed, conversation: str
) -> None:
    for _ in range(TIMES):
        message = GetHistoryRequest(session_id=LARGE)
        fed.feed(ClientMessage(request_id=fed.next_id(), get_history=message))
        assert (await fed.finish())[-1].error.code == "NOT_FOUND"
        del message
    await assert_nothing_left()


@pytest.mark.parametrize(
    ("text", "code"),
    [("", ""), ("[[error:ABORTED]]", "ABORTED"), ("[[crash]]", "INTERNAL")],
    ids=["whole", "failed", "crashed"],
)
async def test_a_reply_leaves_nothing(fed: Fed, conversation: str, text: str, code: str) -> None:
    for _ in range(TIMES):
        message = SendMessageRequest(session_id=conversation, text=LARGE + text)
        fed.feed(ClientMessage(request_id=fed.next_id(), send_message=message))
        assert (await fed.finish())[-1].error.code == code
        del message
    await assert_nothing_left()


async def test_a_cancelled_reply_leaves_nothing(fed: Fed, conversation: str) -> None:
    for _ in range(TIMES):
        message = SendMessageRequest(session_id=conversation, text="[[delay:60000]]" + LARGE)
        request_id = fed.next_id()
        fed.feed(ClientMessage(request_id=request_id, send_message=message))
        await settle()
        fed.feed(ClientMessage(request_id=request_id, cancel=CancelRequest()))
        assert (await fed.finish())[-1].error.code == "CANCELLED"
        del message
    await assert_nothing_left()
