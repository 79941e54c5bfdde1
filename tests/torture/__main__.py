"""`make torture`: a real service under random combinations of conditions, with a good client.

Each round starts a service, lets conditions come and go, and ends it with a signal. Exit code 1 if
a check failed in any round. The seed decides everything that is drawn.
"""

import argparse
import asyncio
import shutil
import sys
from itertools import count
from pathlib import Path
from random import SystemRandom
from time import monotonic
from typing import Final

from tests.support.hangups import stop_ignoring_hangups
from tests.torture import report
from tests.torture.machine import HINTS, available
from tests.torture.plan import CONDITIONS, EVERYWHERE, ROUND, Plan, make_plan
from tests.torture.rounds import Result, Round

FOLDER: Final = Path(".build/torture")
OVERHEAD: Final = 6.0
"""Seconds that a round takes besides its own: to start, to end and to read the trace."""


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        "tests.torture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"  {c.name:<15} {c.about}" for c in CONDITIONS.values()),
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="about how long in all")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(2**32))
    parser.add_argument("--round", type=int, help="only this round")
    parser.add_argument("--condition", nargs="+", choices=CONDITIONS, help="only these, one round")
    parser.add_argument("--backend", choices=sorted(EVERYWHERE), help="only with this one")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for traces and logs; emptied")
    parser.add_argument("--keep", action="store_true", help="keep the files of all rounds")
    return parser.parse_args()


async def main(wish: argparse.Namespace) -> int:
    """Run the rounds and return the exit code."""
    if sys.platform != "linux":
        print("make torture is for Linux alone", file=sys.stderr)
        return 2
    stop_ignoring_hangups()
    print(f"seed {wish.seed}", flush=True)
    found = available()
    missing = [_left_out(need, hint) for need, hint in HINTS.items() if need not in found]
    for line in missing:
        print(line, flush=True)
    shutil.rmtree(wish.folder, ignore_errors=True)
    began = monotonic()
    results: list[Result] = []
    one = wish.round is not None or wish.condition is not None
    for number in count(wish.round or 1):
        plan = make_plan(
            wish.seed, number, found, only=tuple(wish.condition or ()), backend=wish.backend
        )
        left = wish.seconds - (monotonic() - began)
        if results and (one or left < ROUND[0] + OVERHEAD):
            break
        results.append(await one_round(plan, wish))
    print(report.table(results), report.totals(results), *missing, sep="\n")
    print(f"{len(results)} rounds in {monotonic() - began:.0f} s")
    failed = [str(result.plan.number) for result in results if result.wrong]
    if failed:
        print(f"FAILED, seed {wish.seed}: round {', '.join(failed)} of {len(results)}")
    print(f"again: make torture ARGS='{again(wish)}'; one of its rounds: --round N beside it")
    return 1 if failed else 0


async def one_round(plan: Plan, wish: argparse.Namespace) -> Result:
    """Run a round and print what was wrong in it."""
    print(report.describe(plan), flush=True)
    folder = (wish.folder / f"round-{plan.number}").absolute()
    result = await Round(plan, wish.seed, folder).run()
    for line in result.wrong:
        print(f"  WRONG (seed {wish.seed}, round {plan.number}): {line}", flush=True)
    if result.wrong:
        print(f"  trace and log: {folder}", flush=True)
    elif not wish.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def again(wish: argparse.Namespace) -> str:
    """Return the arguments that repeat this run."""
    words = [f"--seed {wish.seed}"]
    if wish.round is None and wish.condition is None:
        words.append(f"--seconds {wish.seconds:g}")
    else:
        words += [f"--round {wish.round}"] if wish.round is not None else []
    words += [f"--condition {' '.join(wish.condition)}"] if wish.condition else []
    words += [f"--backend {wish.backend}"] if wish.backend else []
    return " ".join(words)


def _left_out(need: str, hint: str) -> str:
    names = ", ".join(c.name for c in CONDITIONS.values() if c.needs == need)
    return f"LEFT OUT: {names}: {hint}"


if __name__ == "__main__":
    sys.exit(asyncio.run(main(arguments())))
