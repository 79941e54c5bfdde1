"""What a run prints."""

from collections import Counter
from collections.abc import Sequence

from tests.torture.checks import EXIT_SLACK, FIXED_BYTES, LOCKOUT, MIB, SESSION_BYTES
from tests.torture.plan import CONDITIONS, Plan
from tests.torture.rounds import Result
from tests.torture.trace import NEWCOMER, SESSION

COLUMNS = (
    ("round", 5), ("backend", 7), ("requests", 8), ("lockout", 7), ("newcomer", 8), ("memory", 13),
    ("with children", 13), ("exit", 5), ("code", 4), ("signals", 17), ("conditions", 0),
)  # fmt: skip


def describe(plan: Plan) -> str:
    """Return a line about what a round will do."""
    names = sorted({step.name for step in plan.steps})
    left_out = f"; left out: {', '.join(plan.left_out)}" if plan.left_out else ""
    return (
        f"round {plan.number}: {plan.backend}, {plan.seconds:.0f} s, budget "
        f"{plan.budget / MIB:.0f} MiB, drain {plan.drain} s, {', '.join(names)}{left_out}"
    )


def table(results: Sequence[Result]) -> str:
    """Return a table with a row for each round."""
    lines = ["  ".join(f"{name:<{width}}" for name, width in COLUMNS)]
    for result in results:
        cells = _cells(result)
        lines.append("  ".join(f"{c:<{w}}" for c, (_, w) in zip(cells, COLUMNS, strict=True)))
    return "\n".join(line.rstrip() for line in lines)


def _cells(result: Result) -> list[str]:
    plan, end = result.plan, result.end
    seconds = "-" if end is None else "never" if end.seconds is None else f"{end.seconds:.1f}"
    applied = (f"{name}:{count}" for name, count in sorted(result.applied.items()))
    return [
        str(plan.number),
        plan.backend,
        str(result.requests),
        f"{result.worst.get(SESSION, 0.0):.2f}",
        f"{result.worst.get(NEWCOMER, 0.0):.2f}",
        f"{result.peak / MIB:.0f} of {result.bound / MIB:.0f}",
        f"{result.peak_together / MIB:.0f}",
        seconds,
        "-" if end is None or end.code is None else str(end.code),
        "+".join(name.removeprefix("SIG") for _, name in plan.signals),
        " ".join(applied),
    ]


def totals(results: Sequence[Result]) -> str:
    """Return what all rounds have in common: ends by code, conditions, time that was excused."""
    ends: Counter[str] = Counter()
    applied: Counter[str] = Counter()
    for result in results:
        ends.update(result.ends)
        applied.update(result.applied)
    never = sorted(CONDITIONS.keys() - applied.keys() - {"sighup", "sigint", "second-signal"})
    late = sum(result.late for result in results)
    limits = (
        f"limits: lockout {LOCKOUT:.0f} s; exit drain time + {EXIT_SLACK:.0f} s; memory "
        f"(MiB): at the start + {FIXED_BYTES / MIB:.0f}, + {SESSION_BYTES / MIB:.0f} for each "
        "hostile session up to the memory budget"
    )
    return "\n".join(
        [
            limits,
            f"ends of requests: {_counts(ends)}",
            f"conditions applied: {_counts(applied)}",
            f"conditions not drawn: {', '.join(never) or 'none'}",
            f"excused: {late:.1f} s in which the good client's own timers came late, in all rounds",
        ]
    )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common()) or "none"
