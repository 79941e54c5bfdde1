"""A client written from proto/ alone: it shares no code with the project.

The messages are compiled from the .proto files into a descriptor pool of their own; the WebSocket
comes from the library `websockets`.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

PROTO = Path(__file__).parents[2] / "proto"


@cache
def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    include = Path(protoc.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "contract.pb"
        files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
        arguments = [f"-I{PROTO}", f"-I{include}", f"--descriptor_set_out={out}"]
        code = protoc.main(["protoc", *arguments, "--include_imports", *files])
        assert code == 0, "proto/ does not compile"
        for file in FileDescriptorSet.FromString(out.read_bytes()).file:
            pool.Add(file)
    return pool


def message(name: str, /, **fields: Any) -> Any:
    """Make a message of the contract, given its name and fields."""
    full_name = name if "." in name else f"callboard.v1.{name}"
    return GetMessageClass(_pool().FindMessageTypeByName(full_name))(**fields)


def parse(name: str, data: bytes) -> Any:
    """Decode a message of the contract."""
    return type(message(name)).FromString(data)


class Contract:
    """A client with one connection at a time; use it with `async with`.

    max_frame: the size in bytes of the largest frame that it accepts; None: any size.
    """

    def __init__(self, url: str, token: str, max_frame: int | None = None, **hello: Any) -> None:
        self.url = url
        self._max_frame = max_frame
        self.hello = message("Hello", token=token, protocol_version=1, **hello)
        self.welcome: Any = None
        self.received: list[Any] = []
        self.last_sequence = 0
        self._last_id = 0
        self._queues: dict[int, asyncio.Queue[Any]] = {}
        self._reader: asyncio.Task[None] | None = None
        self.socket: ClientConnection

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def _connect(self) -> None:
        self.socket = await connect(
            self.url, max_size=self._max_frame, compression=None, proxy=None
        )
        await self.send(0, hello=self.hello)
        first = parse("ServerMessage", await self._bytes())
        assert first.WhichOneof("payload") == "welcome"
        self.welcome = first.welcome
        self._reader = asyncio.create_task(self._read())

    async def lose(self) -> None:
        """Cut the connection off, without a close frame."""
        self.socket.transport.abort()
        assert self._reader is not None
        await self._reader

    async def resume(self, after: int | None = None) -> bool:
        """Reconnect and ask to resume; return True if the session was resumed."""
        for queue in self._queues.values():
            kept = [queue.get_nowait() for _ in range(queue.qsize())]
            for answer in kept:
                if answer is not None:  # None marks the end of the old connection
                    queue.put_nowait(answer)
        token = self.welcome.resume_token
        last_sequence = self.last_sequence if after is None else after
        self.hello.resume.CopyFrom(
            message("Resume", resume_token=token, last_sequence=last_sequence)
        )
        await self._connect()
        return bool(self.welcome.resumed)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.socket.close()
        if self._reader is not None:
            await self._reader

    async def _bytes(self) -> bytes:
        data = await self.socket.recv()
        assert isinstance(data, bytes)
        return data

    async def _read(self) -> None:
        try:
            while True:
                answer = parse("ServerMessage", await self._bytes())
                self.received.append(answer)
                self.last_sequence = max(self.last_sequence, answer.sequence)
                self.queue(answer.request_id).put_nowait(answer)
        except ConnectionClosed:
            for queue in self._queues.values():
                queue.put_nowait(None)

    def queue(self, request_id: int) -> "asyncio.Queue[Any]":
        return self._queues.setdefault(request_id, asyncio.Queue())

    async def send(self, request_id: int, timeout_ms: int = 0, **payload: Message) -> None:
        envelope = message("ClientMessage", request_id=request_id, timeout_ms=timeout_ms, **payload)
        await self.socket.send(envelope.SerializeToString())

    async def open(self, timeout_ms: int = 0, **payload: Message) -> int:
        """Open a request and return its id."""
        self._last_id += 1
        self.queue(self._last_id)
        await self.send(self._last_id, timeout_ms, **payload)
        return self._last_id

    async def answers(self, request_id: int) -> AsyncIterator[Any]:
        """Yield the answers to a request up to the final one; fail if the connection ends first."""
        while True:
            answer = await self.queue(request_id).get()
            assert answer is not None, "the connection ended before the request did"
            yield answer
            if answer.end:
                return

    async def all(self, request_id: int) -> list[Any]:
        return [answer async for answer in self.answers(request_id)]

    async def call(self, timeout_ms: int = 0, **payload: Message) -> Any:
        """Open a request and return its one answer."""
        answers = await self.all(await self.open(timeout_ms, **payload))
        assert len(answers) == 1
        return answers[0]

    async def conversation(self, title: str = "") -> str:
        """Create a conversation and return its id."""
        answer = await self.call(create_session=message("CreateSessionRequest", title=title))
        session_id: str = answer.session_info.id
        return session_id

    async def say(self, conversation: str, text: str, **fields: Any) -> int:
        """Send a message and return the id of its request, whose answers are the reply."""
        request = message("SendMessageRequest", session_id=conversation, text=text)
        return await self.open(send_message=request, **fields)

    async def reply(self, conversation: str, text: str) -> list[Any]:
        """Send a message and wait for the whole reply."""
        return await self.all(await self.say(conversation, text))


def text_of(answers: list[Any]) -> str:
    """Join the tokens of a reply."""
    return "".join(answer.token.text for answer in answers)


def kinds_of(answers: list[Any]) -> list[str]:
    """List the payload of each answer in order; consecutive tokens count as one."""
    kinds: list[str] = []
    for answer in answers:
        kind = answer.WhichOneof("payload")
        if kind != "token" or kinds[-1:] != ["token"]:
            kinds.append(kind)
    return kinds


def runtime_record(folder: Path) -> Any:
    """Read the only runtime file in the folder."""
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())
