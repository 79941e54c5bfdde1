"""Hostile clients, in a process of their own: `python -m tests.torture.hostile`.

Standard input: one line of JSON (port, token, seed, began, steps). They run until they are killed,
at a low priority: the load must not starve the good client on a small machine. Standard error says
how each attack ended.
"""

import asyncio
import json
import os
import sys
from random import Random
from time import monotonic
from typing import Any, Final

from tests.torture.attacks import ATTACKS, Victim

AGAIN: Final = 0.3
"""Seconds before an attack that has ended starts again."""


async def attack(victim: Victim, step: dict[str, Any], began: float, seed: str) -> None:
    """Carry out one step from its beginning to its end."""
    await asyncio.sleep(max(0.0, began + step["at"] - monotonic()))
    until = None if step["until"] is None else began + step["until"]
    loop = asyncio.get_running_loop()
    over = None if until is None else loop.time() + max(0.0, until - monotonic())
    draw = Random(seed)
    try:
        async with asyncio.timeout_at(over):
            while True:
                try:
                    await ATTACKS[step["name"]](victim, draw)
                    print(f"{step['name']}: done", file=sys.stderr, flush=True)
                except (OSError, EOFError, AssertionError, ValueError) as error:
                    print(f"{step['name']}: {error!r:.200}", file=sys.stderr, flush=True)
                except TimeoutError:
                    if over is not None and loop.time() >= over:
                        raise
                await asyncio.sleep(AGAIN)
    except TimeoutError:
        pass


async def main(wish: dict[str, Any]) -> None:
    """Carry out all steps."""
    victim = Victim(wish["port"], wish["token"])
    async with asyncio.TaskGroup() as group:
        for number, step in enumerate(wish["steps"]):
            group.create_task(attack(victim, step, wish["began"], f"{wish['seed']}/{number}"))


if __name__ == "__main__":
    if sys.platform != "win32":
        os.nice(10)
    asyncio.run(main(json.loads(sys.stdin.readline())))
