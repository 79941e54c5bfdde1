"""An OpenAI-compatible model server in its own process: `python -m tests.torture.model_server`.

It prints its port. Most replies are complete; some are refused, hang or are cut.
"""

import asyncio
import sys
from random import Random
from typing import SupportsIndex

from tests.support.openai.scripted_server import Exchange, Script, never, refusing, saying, scripted

SERVER_ERROR = {"error": {"message": "overloaded", "type": "server_error"}}


def slowly(words: int, pause: float) -> Script:
    """Return a script that pauses before each word."""

    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        for number in range(words):
            await asyncio.sleep(pause)
            await exchange.delta(content=f"word{number} ")
        await exchange.finish("stop", (7, words))

    return script


async def cut(exchange: Exchange) -> None:
    """Reset the connection in the middle of a reply."""
    await exchange.begin()
    await exchange.delta(content="half ")
    exchange.cut()


class Scripts(list[Script]):
    """An endless supply of scripts, drawn at random."""

    def __init__(self, draw: Random) -> None:
        super().__init__()
        self._draw = draw

    def pop(self, _index: SupportsIndex = -1) -> Script:
        """Return the next script."""
        kinds = (saying("a ", "short ", "reply"), slowly(40, 0.02), slowly(200, 0.05))
        faults = (refusing(500, SERVER_ERROR), refusing(429, SERVER_ERROR), cut, never)
        return self._draw.choices(kinds + faults, (40, 30, 10, 5, 5, 5, 5))[0]


async def main(seed: str) -> None:
    """Serve until killed."""
    async with scripted() as server:
        server.scripts = Scripts(Random(seed))
        print(server.port, flush=True)
        while True:
            await asyncio.sleep(1.0)
            server.chats.clear()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
