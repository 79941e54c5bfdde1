"""A client of the contract's first version, whose exchanges with a service are recorded."""

from typing import Any

from google.protobuf import text_format

from tests.support.recording import TOKEN, Event, Exchange, Socket, first_version


class Client:
    """One connection of an old client, whose frames are noted."""

    def __init__(self, number: int, socket: Socket, exchange: Exchange) -> None:
        self._number = number
        self._socket = socket
        self._exchange = exchange
        self.last: Any = None
        """The last frame that was received."""

    def _note(self, event: Event) -> None:
        self._exchange.events.append(event)

    async def send(self, text: str) -> None:
        """Send a ClientMessage, given in protobuf's text format."""
        await self.send_frame(text_format.Parse(text, first_version("ClientMessage")()))

    async def send_frame(self, frame: Any) -> None:
        """Send a ClientMessage."""
        await self._socket.send(frame)
        self._note(Event(self._number, "→", frame))

    async def take(self, count: int = 1) -> Any:
        """Receive this many frames and return the last. Raises RuntimeError for other bytes."""
        for _ in range(count):
            data = await self._socket.receive()
            if isinstance(data, int):
                raise RuntimeError(f"closed with {data}")
            self.last = first_version("ServerMessage").FromString(data)
            self.last.DiscardUnknownFields()
            if self.last.SerializeToString(deterministic=True) != data:
                raise RuntimeError(f"the text would not be what was sent: {data!r}")
            self._note(Event(self._number, "←", self.last))
        return self.last

    async def until(self, arm: str) -> Any:
        """Receive up to the next frame with this payload, and return it."""
        while (await self.take()).WhichOneof("payload") != arm:
            pass
        return self.last

    async def notices(self, *request_ids: int) -> None:
        """Receive until each of these requests has had a notice."""
        waiting = set(request_ids)
        while waiting:
            await self.until("notice")
            waiting.remove(self.last.request_id)

    async def ends(self, *request_ids: int) -> None:
        """Receive until these requests have ended."""
        open_requests = set(request_ids)
        while open_requests:
            if (await self.take()).end:
                open_requests.remove(self.last.request_id)

    async def call(self, text: str) -> Any:
        """Send a request, receive its answers, and return the last."""
        await self.send(text)
        await self.ends(int(text.split()[1]))
        return self.last

    async def conversation(self, title: str = "", number: int = 1) -> str:
        """Create a conversation in the request of this number, and return its id."""
        answer = await self.call(f"request_id: {number} create_session {{ title: '{title}' }}")
        return str(answer.session_info.id)

    async def silent(self) -> None:
        """Show that nothing comes before the answer to a Ping."""
        await self.send("ping { nonce: 7 }")
        await self.take()

    async def cut(self) -> None:
        """Cut the connection off."""
        await self._socket.cut()
        self._note(Event(self._number, "cut"))

    async def closed(self) -> None:
        """Wait for the service to close. Raises RuntimeError if a frame comes instead."""
        code = await self._socket.receive()
        if isinstance(code, bytes):
            raise RuntimeError(f"not closed: {code!r}")
        self._note(Event(self._number, "closed", code=code))


class Recorder:
    """The connections of one exchange."""

    def __init__(self, url: str, title: str) -> None:
        self._url = url
        self._sockets: list[Socket] = []
        self.exchange = Exchange(title)

    async def opened(self) -> Client:
        """Open a connection."""
        socket = await Socket.open(self._url)
        self._sockets.append(socket)
        number = len(self._sockets)
        self.exchange.events.append(Event(number, "opened"))
        return Client(number, socket, self.exchange)

    async def client(self, hello: str = "", after: int = 0, resume: bytes = b"") -> Client:
        """Open a connection, say Hello with these further fields, and receive the Welcome.

        resume: the token of a session to take up after the sequence `after`; empty: none.
        """
        client = await self.opened()
        frame = first_version("ClientMessage")()
        text_format.Parse(f'token: "{TOKEN}" protocol_version: 1 {hello}', frame.hello)
        if resume:
            frame.hello.resume.resume_token = resume
            frame.hello.resume.last_sequence = after
        await client.send_frame(frame)
        await client.take()
        return client

    async def end(self) -> None:
        """Leave on every connection."""
        for socket in self._sockets:
            await socket.close()
