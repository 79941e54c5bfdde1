"""Summarize the runs of the relays, from what is kept in the results file, as Markdown tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

from bench.relay.contestants import CALLBOARD, PLAIN, RELAYS, STORED, Relay, on
from bench.relay.measure import Runs
from bench.relay.workloads import ALONE, FAST, FULL, IN_STEP, LONG, MANY, SHORT, SPREAD
from bench.summary import Figure

PYTHONS: Final = ("3.13", "3.11")


class Kept(TypedDict):
    """The content of a results file. quick: whether it is one of `--quick`."""

    facts: dict[str, str]
    quick: bool
    runs: Runs


@dataclass(frozen=True, slots=True)
class Goal:
    """A row of the first table. most: the largest ratio to the peer, or milliseconds above it."""

    what: str
    workload: str
    most: float
    figure: str = "token_us"
    peer: str = PLAIN
    above: bool = False

    def __str__(self) -> str:
        return f"{self.most:g} ms more" if self.above else f"{self.most:g}"


GOALS: Final = (
    Goal("50 replies at 50 tokens a second, begun together", IN_STEP.name, 0.75),
    Goal("the same, begun over one second", SPREAD.name, 0.8),
    Goal("200 replies at 20 tokens a second, begun over one second", MANY.name, 0.8),
    Goal("1 reply of 40,000 tokens at full speed", LONG.name, 0.5),
    Goal("20 replies of 5,000 tokens at full speed", FAST.name, 0.5),
    Goal("1,000 short replies of 8 tokens over four seconds", SHORT.name, 1.5),
    Goal("the same beside a plain relay that stores them", SHORT.name, 1.0, peer=STORED),
    Goal("time to the first token, 200 replies over a second, ms", MANY.name, 1.2, "first_ms"),
    Goal("time to the first token, one reply, ms", ALONE.name, 3, "first_ms", above=True),
    Goal("latency of a token, p99, of 50 replies at 50 a second, ms", SPREAD.name, 1, "p99_ms",
         above=True),
)  # fmt: skip

_METRICS: Final = (
    ("CPU microseconds a token", "token_us", False),
    ("The same as a ratio to the plain relay in the same round", "token_us", True),
    ("Time to the first token, milliseconds", "first_ms", False),
    ("Latency of a token, p50, milliseconds", "p50_ms", False),
    ("Latency of a token, p99, milliseconds", "p99_ms", False),
)


def compared(
    runs: Runs, name: str, peer: str, workload: str, figure: str, *, above: bool = False
) -> Figure | None:
    """Return the ratio to a peer in the same round, or the difference; None without a figure."""
    ours, theirs = _of(runs, name, workload), _of(runs, peer, workload)
    pairs = [
        (one[figure], other[figure])
        for one, other in zip(ours, theirs, strict=False)
        if one and other and figure in one and figure in other
    ]
    if not pairs:
        return None
    return Figure.of([one - other if above else one / other for one, other in pairs])


def absolute(runs: Runs, name: str, workload: str, figure: str) -> Figure | None:
    """Return a figure over all rounds; None if there is none."""
    values = [one[figure] for one in _of(runs, name, workload) if one and figure in one]
    return Figure.of(values) if values else None


def _of(runs: Runs, name: str, workload: str) -> Sequence[dict[str, float] | None]:
    return runs.get(name, {}).get(workload, [])


def goals(kept: Kept, loop: str = "uvloop") -> str:
    """Return the table of goals, all relays with this event loop."""
    runs = kept["runs"]
    head = ["CPU microseconds a token, or as said", "plain relay", "**Callboard**"]
    ratios = [f"ratio, {python}" for python in PYTHONS]
    lines = [[*head, *ratios, "goal", ""]]
    for goal in GOALS:
        found = [
            compared(
                runs, on(CALLBOARD, python, loop), on(goal.peer, python, loop), goal.workload,
                goal.figure, above=goal.above,
            )
            for python in PYTHONS
        ]  # fmt: skip
        missed = [
            python
            for python, figure in zip(PYTHONS, found, strict=True)
            if figure is not None and round(figure.value, 2) > goal.most
        ]
        lines.append(
            [
                goal.what,
                *(_middle(absolute(runs, on(name, "3.13", loop), goal.workload, goal.figure))
                  for name in (goal.peer, CALLBOARD)),
                *(_signed(figure) if goal.above else _text(figure) for figure in found),
                str(goal),
                _verdict(missed, sum(figure is not None for figure in found)),
            ]
        )  # fmt: skip
    return markdown(lines)


def goals_with_asyncio(kept: Kept) -> str:
    """Return the table of goals, all relays with asyncio's own event loop."""
    return goals(kept, "asyncio")


def _verdict(missed: list[str], measured: int) -> str:
    if not missed:
        return "" if measured else "not measured"
    return "**not reached**" if len(missed) == measured else f"**not reached** on {missed[0]}"


def variants(kept: Kept) -> str:
    """Return the table of Callboard's variants, each in the same workload."""
    runs, workload = kept["runs"], SPREAD.name
    lines = [["", "CPU µs a token", "ratio to the plain relay", "to Callboard", "p99, ms"]]
    for relay in RELAYS:
        if relay.name != CALLBOARD and not relay.variant:
            continue
        lines.append(
            [
                relay.name,
                _middle(absolute(runs, relay.name, workload, "token_us")),
                _text(compared(runs, relay.name, PLAIN, workload, "token_us")),
                _text(compared(runs, relay.name, CALLBOARD, workload, "token_us")),
                _middle(absolute(runs, relay.name, workload, "p99_ms")),
            ]
        )
    return markdown(lines)


def full(kept: Kept) -> str:
    """Return a table for each metric: contestants by workloads, medians with their spreads."""
    runs = kept["runs"]
    tables = []
    for title, figure, as_ratio in _METRICS:
        lines = [["", *(workload.name for workload in FULL)]]
        for relay in RELAYS:
            if as_ratio and relay.name == relay.base:
                continue
            cells = [_cell(runs, relay, workload.name, figure, as_ratio) for workload in FULL]
            if any(cells):
                lines.append([relay.name, *cells])
        tables.append(f"{title}:\n\n{markdown(lines)}")
    return "\n\n".join(tables)


def _cell(runs: Runs, relay: Relay, workload: str, figure: str, as_ratio: bool) -> str:
    if as_ratio:
        return _text(compared(runs, relay.name, relay.base, workload, figure))
    return _text(absolute(runs, relay.name, workload, figure))


def facts(kept: Kept) -> str:
    """Return what was measured with, and how busy the other processes were."""
    shares = []
    for figure, process in (("client", "client"), ("model_server", "model server")):
        used = [
            one[figure] for rows in kept["runs"].values() for runs in rows.values() for one in runs
            if one
        ]  # fmt: skip
        if used:
            shares.append(f"the {process} {Figure.of(used)}")
    said = " · ".join(f"{key}: {value}" for key, value in kept["facts"].items())
    return f"{said}\n\nShares of their core that the others used in a run: {', '.join(shares)}."


def note(kept: Kept) -> str:
    """Return a warning if these are the figures of a quick run, otherwise how many rounds."""
    chosen = kept["facts"]
    where = f"{chosen['processor']}, commit {chosen['commit']}, uvloop unless stated otherwise"
    rounds = f"{chosen['rounds']} round{'' if chosen['rounds'] == '1' else 's'}"
    if kept["quick"]:
        return (
            f"**Provisional: figures of a quick run ({rounds} with fewer tokens) on a busy machine,"
            f" to be replaced by a full run.** {where}."
        )
    return f"Medians of {rounds}, with the least and the greatest in brackets. {where}."


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return these rows, of which the first is the head, as a table."""
    head, *rest = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rest))


def _text(figure: Figure | None) -> str:
    if figure is None or figure.least == figure.greatest:
        return _middle(figure)  # of one round
    return str(figure)


def _middle(figure: Figure | None) -> str:
    return "" if figure is None else str(figure).partition(" ")[0]


def _signed(figure: Figure | None) -> str:
    if figure is None:
        return ""
    if figure.least == figure.greatest:
        return f"{figure.value:+.2f}"
    return f"{figure.value:+.2f} ({figure.least:+.2f} to {figure.greatest:+.2f})"
