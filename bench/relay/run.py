"""Measure the relays and report the results; `make bench` calls this."""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from bench.process import ROOT
from bench.relay import summary
from bench.relay.contestants import LITELLM, PLAIN, RELAYS
from bench.relay.measure import RelayMeasurement
from bench.relay.summary import Kept
from bench.relay.workloads import FULL, QUICK

RESULTS: Final = ROOT / "bench" / "results"

_ELSEWHERE: Final = ("picows", "websockets", "fastapi", "uvicorn", "grpcio")
"""Packages of the other benchmark's servers."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to measure. only: relays whose name has this, beside the plain ones; empty: all."""

    interpreters: dict[str, Path]
    core: int | None
    quick: bool
    rounds: int
    only: str
    output: Path


def run(chosen: Choice, facts: dict[str, str]) -> None:
    """Measure, print the tables, and write JSON. facts: of the machine; more are added."""
    began = time.monotonic()
    relays = [
        relay
        for relay in RELAYS
        if relay.python in chosen.interpreters
        and (chosen.only in relay.name or relay.name.startswith(PLAIN))
    ]
    workloads = QUICK if chosen.quick else FULL
    measurement = RelayMeasurement(relays, workloads, chosen.interpreters, chosen.core, _say)
    uvloop.run(_measure(measurement, chosen.rounds))
    facts |= {"rounds": str(chosen.rounds), "seconds": f"{time.monotonic() - began:.0f}"}
    facts["litellm"] = _litellm(chosen.interpreters.get(LITELLM))
    facts = {name: fact for name, fact in facts.items() if name not in _ELSEWHERE}
    kept = Kept(facts=facts, quick=chosen.quick, runs=measurement.runs)
    chosen.output.mkdir(parents=True, exist_ok=True)
    name = "quick" if chosen.quick else "full"
    (chosen.output / f"{name}.relay.json").write_text(json.dumps(kept, indent=1) + "\n")
    for table in (
        summary.goals,
        summary.goals_with_asyncio,
        summary.variants,
        summary.full,
        summary.facts,
    ):
        print(f"{table(kept)}\n")


def _litellm(interpreter: Path | None) -> str:
    """Return the version of litellm in the environment of this interpreter."""
    if interpreter is None:
        return "not installed"
    program = "from importlib.metadata import version; print(version('litellm'))"
    done = subprocess.run(
        [str(interpreter), "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


async def _measure(measurement: RelayMeasurement, rounds: int) -> None:
    with measurement.servers():
        for number in range(rounds):
            await measurement.run_round(number)
            await asyncio.sleep(0)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
