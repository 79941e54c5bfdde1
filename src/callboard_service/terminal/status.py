"""Implements `callboard status`: shows the state of the service, once or live."""

import asyncio
import sys
from datetime import UTC, datetime
from functools import partial
from typing import Final

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from callboard.v1.system_pb2 import ActorStatus, ServiceStatus, ServiceStatusRequest
from callboard_service.terminal.errors import NoService
from callboard_service.terminal.pages import CALL_TIMEOUT
from callboard_service.terminal.plain import NO_TIME, as_dict
from callboard_service.terminal.refusals import HOW_TO_START, waiting
from callboard_service.terminal.sessions import print_json
from callboard_service.terminal.styles import ERROR
from callboard_service.terminal.text import error_line, one_line
from callboard_service.terminal.view import make_console
from transport.client import Client
from transport.errors import NotRunning, RequestFailed

REFRESH: Final = 1.0
"""Seconds between two updates."""

LOOK_TIMEOUT: Final = 5.0
"""Seconds that one update of a live status may take."""

_BUSY: Final = 0.5
"""Seconds of work on one message from which the message and the time are shown."""

_SHOWN: Final = 10


async def show(client: Client, *, watch: bool, as_json: bool) -> None:
    """Print the status once, or with `watch` show it live until Ctrl-C.

    Without a terminal, `watch` prints one status after another, and raises BrokenPipeError once
    nobody reads them.
    """
    status = await fetch(client)
    if as_json:
        print_json(as_dict(status))
        return
    console = make_console(sys.stdout)
    if not watch:
        console.print(render(status))
        return
    if not console.is_terminal:
        console.print(render(status))
        while not console.quiet:  # set when nobody reads the output any more
            await asyncio.sleep(REFRESH)
            status, trouble = await _look(client, status)
            console.print(Text(trouble) if trouble else render(status))
        raise BrokenPipeError
    fitting = partial(render, rows=console.height)
    with Live(fitting(status), console=console, auto_refresh=False, screen=True) as live:
        while True:
            await asyncio.sleep(REFRESH)
            status, trouble = await _look(client, status)
            live.update(
                Group(Text(trouble, ERROR), fitting(status)) if trouble else fitting(status)
            )
            live.refresh()


async def _look(client: Client, last: ServiceStatus) -> tuple[ServiceStatus, str]:
    """Return a new status and "", or the last status and the reason why there is no newer one.

    Raises NoService or ConnectionClosed once the client has given up.
    """
    try:
        async with asyncio.timeout(REFRESH):
            await client.ready()
    except TimeoutError:
        return last, waiting(client.url, client.protocol.closed)
    except NotRunning:
        raise NoService(f"no service is running: {HOW_TO_START}") from None
    try:
        return await fetch(client, LOOK_TIMEOUT), ""
    except RequestFailed as failed:
        return last, error_line(failed.error)


async def fetch(client: Client, timeout: float = CALL_TIMEOUT) -> ServiceStatus:
    """Request the status from the service."""
    request = ServiceStatusRequest(max_children=_SHOWN)
    return await client.call(request, ServiceStatus, timeout=timeout)


def render(status: ServiceStatus, rows: int | None = None) -> RenderableType:
    """Return the status laid out for a person.

    rows: of the screen; as few children of each actor but the root are shown as it needs. None: no
    limit.
    """
    table = Table.grid(padding=(0, 2))
    health = status.backend_health
    mood = Text("ready", "green") if health.ready else Text("not ready", "bold red")
    backend = Text.assemble(one_line(status.backend), "  ", mood, f"  {one_line(health.detail)}")
    faults = f"{status.crashes} crashed, {status.restarts} restarted, {status.given_up} given up"
    lines: tuple[tuple[str, str | Text], ...] = (
        ("callboard", f"{one_line(status.version)}, up {_since(status)}"),
        ("backend", backend),
        ("sessions", _sessions(status)),
        ("requests", _requests(status)),
        ("actors", f"{faults}; {status.dead_letters} dead letters"),
    )
    for name, value in lines:
        table.add_row(Text(name, "bold"), value)
    shown = _SHOWN
    if rows is not None:
        room = rows - len(lines) - 2
        while shown > 1 and _height(status.root, shown, _SHOWN) > room:
            shown -= 1
    return Group(table, Text(), _tree(status.root, shown, _SHOWN))


def _sessions(status: ServiceStatus) -> str:
    now = f"{status.sessions} (connections: {status.connections}, away: {status.sessions_away})"
    return (
        f"{now}; {status.resumes} resumed, {status.take_overs} of them taken over, "
        f"{status.slow_consumers} slow consumers"
    )


def _requests(status: ServiceStatus) -> str:
    refused = sorted(status.refused_requests.items())
    by_limit = ", ".join(f"{count} by {one_line(limit)}" for limit, count in refused)
    return f"{status.requests}; refused {by_limit}" if by_limit else str(status.requests)


def _since(status: ServiceStatus) -> str:
    try:
        started = status.started_at.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        return NO_TIME
    return str(datetime.now(UTC) - started).split(".", maxsplit=1)[0]


def _height(actor: ActorStatus, shown: int, here: int) -> int:
    """Return the lines of the actor's tree: at most `here` children of it, `shown` of each other.

    The root's children are the parts of the service, and each holds what the others do not.
    """
    children = actor.children[:here]
    more = len(actor.children) > len(children) or actor.more_children > 0
    return 1 + more + sum(_height(child, shown, shown) for child in children)


def _tree(actor: ActorStatus, shown: int, here: int, parent: Tree | None = None) -> Tree:
    label = _label(actor)
    tree = Tree(label) if parent is None else parent.add(label)
    for child in actor.children[:here]:
        _tree(child, shown, shown, tree)
    more = actor.more_children + max(len(actor.children) - here, 0)
    if more:
        tree.add(Text(f"… {more} more", "dim"))
    return tree


def _label(actor: ActorStatus) -> Text:
    label = Text(one_line(actor.name), "bold")
    label.append(f" {one_line(actor.type)}", "cyan")
    if actor.state != "running":
        label.append(f" {one_line(actor.state)}", "yellow")
    if actor.mailbox:
        label.append(f" mailbox {actor.mailbox}/{actor.mailbox_capacity}", "magenta")
    if actor.message and actor.busy_seconds >= _BUSY:
        label.append(f" {one_line(actor.message)} for {actor.busy_seconds:.1f} s", "yellow")
    if actor.restarts:
        label.append(f" {actor.restarts} restarts", "red")
    if actor.children_crashed:
        label.append(f" {actor.children_crashed} of {actor.children_started} crashed", "red")
    return label
