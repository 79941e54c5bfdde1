"""The contract's benchmark requests, handled without actors.

Each request takes one coroutine, each answer one `send`, and nothing else of the service is done:
no limits, no replay, no supervision. The servers that use this differ only in their WebSocket.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import BytesValue

from callboard.v1 import chat_pb2 as chat
from callboard.v1 import envelope_pb2 as envelope
from callboard.v1 import session_pb2 as session

Send: TypeAlias = Callable[[bytes], Awaitable[None]]

WELCOME: Final = envelope.ServerMessage(
    welcome=session.Welcome(session="bench")
).SerializeToString()

_running: set[asyncio.Task[None]] = set()


def begin(send: Send, data: bytes) -> None:
    """Start to handle the message in these bytes."""
    message = envelope.ClientMessage.FromString(data)
    handle = _HANDLERS.get(message.WhichOneof("payload") or "")
    if handle is not None:
        task = asyncio.create_task(handle(send, message))
        _running.add(task)
        task.add_done_callback(_running.discard)


async def _call(send: Send, message: envelope.ClientMessage) -> None:
    request = BytesValue()
    message.call.Unpack(request)
    reply = Any()
    reply.Pack(BytesValue(value=request.value))
    answer = envelope.ServerMessage(request_id=message.request_id, end=True, reply=reply)
    await send(answer.SerializeToString())


async def _create_session(send: Send, message: envelope.ClientMessage) -> None:
    made = chat.SessionInfo(id=f"c{message.request_id}")
    answer = envelope.ServerMessage(request_id=message.request_id, end=True, session_info=made)
    await send(answer.SerializeToString())


async def _send_message(send: Send, message: envelope.ClientMessage) -> None:
    text = message.send_message.text
    repeat = re.search(r"repeat:(\d+)", text)
    yields = "delay" in text
    request_id = message.request_id
    for _ in range(int(repeat[1]) if repeat else 0):
        if yields:
            await asyncio.sleep(0)
        token = chat.ChatToken(text="012 ")
        answer = envelope.ServerMessage(request_id=request_id, token=token)
        await send(answer.SerializeToString())
    completed = chat.ChatCompleted()
    answer = envelope.ServerMessage(request_id=request_id, end=True, completed=completed)
    await send(answer.SerializeToString())


_HANDLERS: Final = {
    "call": _call,
    "create_session": _create_session,
    "send_message": _send_message,
}
