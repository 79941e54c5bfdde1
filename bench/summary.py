"""Summarize the samples: medians, each with its spread."""

from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.contestants import BASELINE, Contestant
from bench.measure import COLUMNS, Results

GOALS: Final = {
    "W1": 2.2, "W2": 15.0, "W2 x 50": 15.0, "W3": 1.6, "latency": 1.0,
    "idle": 9.0,
}  # fmt: skip
"""Goals: minimum ratios to the plain handler; for `latency` the maximum ratio, for `idle` KiB."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A median, with the least and the greatest of the values."""

    value: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: list[float]) -> "Figure":
        """Return the figure for these values."""
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        digits = 0 if self.value >= 100 else 1 if self.value >= 10 else 2
        return f"{self.value:.{digits}f} ({self.least:.{digits}f}-{self.greatest:.{digits}f})"


@dataclass(frozen=True, slots=True)
class Row:
    """The results of one contestant."""

    name: str
    ratio: dict[str, Figure]
    rate: dict[str, Figure]
    """Messages per CPU second."""
    p50: Figure
    p99: Figure
    """Microseconds."""
    idle: float | None
    session: float | None
    """KiB."""
    start: Figure | None
    """Seconds."""


def rows(results: Results, contestants: tuple[Contestant, ...]) -> list[Row]:
    """Return a row per contestant, in order; each ratio is taken within a round."""
    return [_row(results, contestant.name) for contestant in contestants]


def _row(results: Results, name: str) -> Row:
    samples = results.samples[name]
    plain = results.samples[BASELINE.name]
    rate: dict[str, Figure] = {}
    ratio: dict[str, Figure] = {}
    for column in COLUMNS[:-1]:
        unit = plain[column]
        pairs = [
            (sample.messages / sample.cpu, base.messages / base.cpu)
            for sample, base in zip(samples[column], unit, strict=True)
            if sample is not None and base is not None
        ]
        if pairs:
            rate[column] = Figure.of([ours for ours, _ in pairs])
            ratio[column] = Figure.of([ours / theirs for ours, theirs in pairs])
    timed = [sample.latencies for sample in samples["latency"] if sample is not None]
    bases = [sample.latencies for sample in plain["latency"] if sample is not None]
    ratio["latency"] = Figure.of(
        [_at(ours, 0.5) / _at(theirs, 0.5) for ours, theirs in zip(timed, bases, strict=False)]
    )
    starts = results.start.get(name)
    return Row(
        name,
        ratio,
        rate,
        Figure.of([_at(latencies, 0.5) * 1e6 for latencies in timed]),
        Figure.of([_at(latencies, 0.99) * 1e6 for latencies in timed]),
        results.idle.get(name),
        results.session.get(name),
        Figure.of(starts) if starts else None,
    )


def busy(results: Results) -> str:
    """Return the share of its core that a server used in W1 and in W3, over all of them.

    Near 1 says that no server waited for its client. Other programs on its core lower it.
    """
    said = []
    for column in ("W1", "W3"):
        shares = [
            sample.cpu / sample.wall
            for name, samples in results.samples.items()
            for sample in samples[column]
            if sample is not None and name != "grpc.aio"  # it has another client
        ]
        said.append(f"{column} {Figure.of(shares)}")
    return ", ".join(said)


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def table(rows: list[Row]) -> str:
    """Return the rows in Markdown, followed by the goals."""
    head = ["", *COLUMNS[:-1], "p50 of one, ratio", "p50 us", "p99 us", "idle KiB", "session KiB"]
    lines = [[*head, "start s"], ["---"] * (len(head) + 1), *map(_cells, rows)]
    goals = [f"{GOALS[column]:g}" for column in COLUMNS]
    lines.append(["*goal, 3.13 with uvloop*", *goals, "", "", f"{GOALS['idle']:g}", "", ""])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: Row) -> list[str]:
    return [
        row.name,
        *(str(row.ratio.get(column, "")) for column in COLUMNS),
        str(row.p50),
        str(row.p99),
        "" if row.idle is None else f"{row.idle:.1f}",
        "" if row.session is None else f"{row.session:.1f}",
        "" if row.start is None else str(row.start),
    ]
