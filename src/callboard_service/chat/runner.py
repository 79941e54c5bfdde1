"""The actor that runs one turn: it takes the reply from the backend and passes it on."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing

from actors import Actor, Failure
from callboard_service.backends.base import ChatBackend, Prompt
from callboard_service.chat.output import TurnOutput


class TurnRunner(Actor[object]):
    """Runs one reply in `main`. Its conversation reads what came of it from the output.

    available: returns once the backend can be asked for a reply, or raises Failure.
    """

    def __init__(
        self,
        backend: ChatBackend,
        prompt: Prompt,
        output: TurnOutput,
        available: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._backend = backend
        self._prompt = prompt
        self._output = output
        self._available = available

    async def main(self) -> None:
        """Run the reply to its end, and end."""
        output = self._output
        try:
            if self._available is not None:
                await self._available()
            async with aclosing(self._backend.reply(self._prompt)) as events:
                async for event in events:
                    await output.take(event)
        except Failure as failure:
            output.failure = failure.alone()
        self.context.stop()

    def receive(self, message: object) -> None:
        """Do nothing: the runner has no messages."""
