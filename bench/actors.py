"""Compare the actor runtime with tapio and an actor made of an `asyncio.Queue` and a task.

    make bench-actors                      all columns, medians of interleaved rounds
    make bench-actors ARGS="--rounds 3 --only tell,ring"

Each figure is the work done per second of this process's CPU time, as a ratio to the
`asyncio.Queue` actor in the same round. The idle columns are bytes per actor (`tracemalloc`,
including the user's own object and the reference to it). `plain` is this runtime with plain
functions as handlers, `coroutine` the same with coroutine functions.
"""

import argparse
import asyncio
import gc
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine
from importlib.metadata import version
from typing import Final, NamedTuple, TypeAlias

from bench import own, queue_actor, tapio_actor

Column: TypeAlias = Callable[[], Coroutine[None, None, int]]
"""Does the work of one column once and returns the number of operations."""


class Contestant(NamedTuple):
    """One implementation of actors."""

    name: str
    columns: dict[str, Column]
    idle: Callable[[int, bool], Awaitable[object]]
    """Creates a number of actors, used or not, and returns an object that keeps them alive."""


CONTESTANTS: Final = (
    Contestant("asyncio.Queue", queue_actor.COLUMNS, queue_actor.idle),
    Contestant("coroutine", own.COROUTINE, own.idle_coroutine),
    Contestant("plain", own.PLAIN, own.idle_plain),
    Contestant("tapio", tapio_actor.COLUMNS, tapio_actor.idle),
)
COLUMNS: Final = ("tell", "ask", "spawn", "ring", "crash")
GOALS: Final = {
    "coroutine": {"tell": 2.5, "ask": 1.1, "spawn": 0.9, "ring": 1.2, "crash": 1.5},
    "plain": {"tell": 3.5, "ring": 8.0},
}
IDLE_GOALS: Final = {"unused": 600, "used": 1200}
IDLE_ACTORS: Final = 5_000


def rate(column: Column) -> float:
    """Return the operations per CPU second."""
    gc.collect()
    began = time.process_time()
    done = asyncio.run(column())
    return done / (time.process_time() - began)


async def idle_bytes(contestant: Contestant, used: bool) -> int:
    """Return the bytes that an idle actor takes."""
    warm = await contestant.idle(10, used)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = await contestant.idle(IDLE_ACTORS, used)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept, warm
    return round((after - before) / IDLE_ACTORS)


def measure(columns: list[str], rounds: int) -> dict[tuple[str, str], list[float]]:
    """Return the rates by contestant and column, with one list entry per round."""
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for column in columns:
            for contestant in CONTESTANTS:
                found = rate(contestant.columns[column])
                rates.setdefault((contestant.name, column), []).append(found)
    return rates


def verdict(ratio: float, goal: float | None) -> str:
    """Return the ratio, marked if it misses its goal."""
    return f"{ratio:.2f}" if goal is None or ratio >= goal else f"{ratio:.2f} < {goal}"


def print_rates(columns: list[str], rates: dict[tuple[str, str], list[float]]) -> None:
    """Print a table of ratios: the median over the rounds of each round's own ratio."""
    base = CONTESTANTS[0].name
    print(f"{'':15}" + "".join(f"{column:>14}" for column in columns))
    for contestant in CONTESTANTS:
        cells = []
        for column in columns:
            own_rates, base_rates = rates[contestant.name, column], rates[base, column]
            ratio = statistics.median(a / b for a, b in zip(own_rates, base_rates, strict=True))
            cells.append(verdict(ratio, GOALS.get(contestant.name, {}).get(column)))
        print(f"{contestant.name:15}" + "".join(f"{cell:>14}" for cell in cells))
    absolute = (f"{statistics.median(rates[base, column]):,.0f}" for column in columns)
    print(f"{base + '/s':15}" + "".join(f"{cell:>14}" for cell in absolute))


def print_idle() -> None:
    """Print a table of bytes per idle actor."""
    print(f"\n{'idle bytes':15}{'unused':>14}{'used':>14}")
    for contestant in CONTESTANTS:
        cells = []
        for use, goal in IDLE_GOALS.items():
            size = asyncio.run(idle_bytes(contestant, use == "used"))
            over = contestant.name in GOALS and size > goal
            cells.append(f"{size:,}" + (f" > {goal:,}" if over else ""))
        print(f"{contestant.name:15}" + "".join(f"{cell:>14}" for cell in cells))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default=",".join((*COLUMNS, "idle")), help="columns, by comma")
    options = parser.parse_args()
    wanted = options.only.split(",")
    columns = [column for column in COLUMNS if column in wanted]
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores; "
        f"{platform.python_implementation()} {platform.python_version()}, asyncio's own loop; "
        f"tapio {version('tapio-py')}, validation off; {options.rounds} rounds"
    )
    if columns:
        print_rates(columns, measure(columns, options.rounds))
    if "idle" in wanted:
        print_idle()


if __name__ == "__main__":
    main()
