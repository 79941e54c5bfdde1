"""`make bench`: compare the servers in interleaved rounds. Use `--quick` for a first look.

It measures the relay of replies (`bench.relay`) and then messages of all kinds; `--relay` and
`--messages` measure only one of them.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Final

import uvloop

from bench.contestants import BASELINE, CONTESTANTS, Contestant
from bench.machine import describe
from bench.measure import FULL, QUICK, Measurement
from bench.plot import bars
from bench.process import ROOT, pin
from bench.relay import run as relay
from bench.summary import busy, rows, table

RESULTS: Final = ROOT / "bench" / "results"


def main() -> None:
    """Measure, print the tables, and write JSON and SVG."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer messages, two rounds")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--relay", action="store_true", help="measure only the relay of replies")
    only.add_argument("--messages", action="store_true", help="measure only messages of all kinds")
    parser.add_argument("--rounds", type=int, help="rounds (full: 5, quick: 2)")
    parser.add_argument("--only", default="", help="contestants whose name has this, and the plain")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for JSON and SVG")
    parser.add_argument("pythons", nargs="+", help="VERSION=INTERPRETER, such as 3.13=/…/python")
    chosen = parser.parse_args()
    interpreters = {
        version: Path(path).absolute()
        for version, _, path in (pair.partition("=") for pair in chosen.pythons)
    }
    if BASELINE.python not in interpreters:
        parser.error(f"no interpreter for Python {BASELINE.python}: everything is a ratio to it")
    # A shell that starts this in the background has SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    facts = describe(interpreters)
    core = _divide_cores()
    facts["pinned"] = "no" if core is None else f"servers to core {core}, client to another"
    rounds = chosen.rounds or (2 if chosen.quick else 5)
    try:
        choice = (interpreters, core, chosen.quick, rounds, chosen.only, chosen.output)
        if not chosen.messages:
            relay.run(relay.Choice(*choice), dict(facts))
        if not chosen.relay:
            _run(relay.Choice(*choice), facts)
    except KeyboardInterrupt:  # every server has been ended by now
        sys.exit(130)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does, so that every server is ended."""
    os.kill(os.getpid(), signal.SIGINT)


def _run(chosen: relay.Choice, facts: dict[str, str]) -> None:
    """Measure messages of all kinds."""
    began = time.monotonic()
    contestants = tuple(
        contestant
        for contestant in CONTESTANTS
        if contestant.python in chosen.interpreters
        and (contestant is BASELINE or chosen.only in contestant.name)
    )
    scale = QUICK if chosen.quick else FULL
    measurement = Measurement(contestants, chosen.interpreters, scale, chosen.core, _say)
    uvloop.run(_measure(measurement, chosen.rounds))
    facts |= {"rounds": str(chosen.rounds), "seconds": f"{time.monotonic() - began:.0f}"}
    _report(measurement, contestants, facts, chosen.output, "quick" if chosen.quick else "full")


async def _measure(measurement: Measurement, rounds: int) -> None:
    await measurement.measure_idle()
    with measurement.servers():
        for number in range(rounds):
            await measurement.run_round(number)
            await asyncio.sleep(0)


def _divide_cores() -> int | None:
    """Pin this process to one core and return another for the servers; None if impossible."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2 or not pin(os.getpid(), cores[0]):
        return None
    return cores[1]


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _report(
    measurement: Measurement,
    contestants: tuple[Contestant, ...],
    facts: dict[str, str],
    folder: Path,
    name: str,
) -> None:
    said = rows(measurement.results, contestants)
    facts["server's share of its core"] = busy(measurement.results)
    print("Messages per second of the server's CPU time, as a ratio to the plain handler")
    print("in the same round: median (least-greatest).\n")
    print(table(said))
    print()
    for key, value in facts.items():
        print(f"{key}: {value}")
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"facts": facts, "rows": [asdict(row) for row in said], "runs": _runs(measurement)}
    (folder / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    title = f"{facts['processor']}, {facts['commit']}"
    (folder / f"{name}.svg").write_text(bars(said, title))


def _runs(measurement: Measurement) -> dict[str, dict[str, list[list[float] | None]]]:
    """Return every run as messages, CPU seconds and seconds."""
    return {
        name: {
            column: [
                None
                if sample is None
                else [sample.messages, round(sample.cpu, 6), round(sample.wall, 6)]
                for sample in samples
            ]
            for column, samples in columns.items()
        }
        for name, columns in measurement.results.samples.items()
    }


if __name__ == "__main__":
    main()
