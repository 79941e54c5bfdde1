"""Implements `callboard agents`: shows the agents that Callboard knows, and which can be used."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from callboard_service.terminal.sessions import print_json
from callboard_service.terminal.styles import DIM, ERROR
from callboard_service.terminal.text import one_line
from callboard_service.terminal.view import make_console

ASKS: Final = {
    "yes": "yes",
    "mode": "in some modes",
    "configured": "if configured",
    "no": "NO",
    "unknown": "unknown",
}

_LABELS: Final = len("says it can")

State = Literal["not installed", "installed", "ready", "log in first", "not usable"]


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent. `asks` is a key of ASKS; trouble: why it is not usable."""

    name: str
    title: str
    command: str
    install: str
    state: State
    version: str
    trouble: str
    asks: str
    permission: str
    abilities: Sequence[str]
    tried: str
    silence: float
    quirks: Sequence[str]


def show(rows: Sequence[AgentRow], *, as_json: bool, details: bool) -> None:
    """Print the agents. details: everything that is known of each, instead of a table."""
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
        return
    console = make_console(sys.stdout)
    if details:
        console.print(Group(*(_details(row) for row in rows)))
    else:
        console.print(_overview(rows))


def _overview(rows: Sequence[AgentRow]) -> RenderableType:
    found = [row for row in rows if row.state != "not installed"]
    missing = [row.name for row in rows if row.state == "not installed"]
    parts: list[RenderableType] = []
    if found:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in ("agent", "version", "state", "asks first"):
            table.add_column(column, no_wrap=True)
        table.add_column("", ratio=1)
        for row in found:
            table.add_row(row.name, one_line(row.version), _state(row), _asks(row), _summary(row))
        parts += [table, Text()]
        parts.append(
            Text(
                '"asks first", before it runs a command, is what Callboard knows, not tried now.',
                DIM,
            )
        )
    if missing:
        parts.append(Text(f"Not installed: {', '.join(missing)}."))
    parts.append(Text("callboard agents NAME says more, also how to install one.", DIM))
    return Group(*parts)


def _state(row: AgentRow) -> Text:
    return Text(row.state, ERROR if row.state == "not usable" else "")


def _asks(row: AgentRow) -> Text:
    return Text(ASKS[row.asks], ERROR if row.asks == "no" else "")


def _summary(row: AgentRow) -> str:
    return one_line(row.trouble or "; ".join(row.abilities), 300)


def _details(row: AgentRow) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=_LABELS)
    lines: list[tuple[str, str]] = [
        ("state", f"{row.state}: {one_line(row.trouble, 600)}" if row.trouble else row.state),
        ("version", one_line(row.version)),
        ("tried with", row.tried or "no version"),
        ("command", row.command),
        ("install", row.install if row.state == "not installed" else ""),
        ("asks first", f"{ASKS[row.asks]}. {row.permission}"),
        ("says it can", one_line("; ".join(row.abilities), 600)),
        ("silence", f"up to {row.silence:.0f} s while it retries its model server"),
    ]
    if not row.silence:
        lines.pop()
    for name, value in lines:
        if value:
            table.add_row(Text(name), Text(value))
    for quirk in row.quirks:
        table.add_row(Text("note"), Text(quirk))
    return Group(Text.assemble((row.name, "bold"), f"  {row.title}"), table, Text())
