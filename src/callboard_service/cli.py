"""Defines the command line. A command imports the terminal modules that it needs when it runs."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from callboard_service import __version__
from callboard_service.errors import ServiceError
from callboard_service.launch import leave_working_folder_out
from callboard_service.load_settings import load
from callboard_service.log_values import printable
from callboard_service.options import Grouped, settings_options
from callboard_service.terminal.exits import Exit

if TYPE_CHECKING:
    from callboard_service.terminal.command import Where
    from callboard_service.terminal.sessions import Format
    from transport.client import Client

F = TypeVar("F", bound=Callable[..., object])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="callboard")
def main() -> None:
    """A local service that connects user interfaces to language models over one WebSocket."""


@main.command("serve", cls=Grouped)
@settings_options
@click.option("--ready-json", is_flag=True, help="Print one line of JSON when ready.")
@click.option("--parent-pid", type=int, help="Stop when the process with this PID ends.")
@click.option("--watch-stdin", is_flag=True, help="Stop when standard input is closed.")
@click.option("--open", is_flag=True, help="Open the page when ready.")
def serve_command(
    ready_json: bool,
    parent_pid: int | None,
    watch_stdin: bool,
    open: bool,
    **flags: object,
) -> None:
    """Run the service until Ctrl-C, SIGTERM or SIGHUP.

    Running requests then have the drain time to finish; a second signal other than SIGHUP ends the
    service at once. Exit codes: 0 stopped, 1 failed or did not stop within five seconds after the
    drain time, 2 could not start, 128 + N ended by a second signal N.
    """
    from callboard_service.serve import Lifeline, serve

    given = {name: value for name, value in flags.items() if value not in (None, ())}
    lifeline = Lifeline(parent_pid=parent_pid, watch_stdin=watch_stdin)
    leave_working_folder_out()
    try:
        settings = load(given)
    except ServiceError as error:
        _fail(error)
    serve(settings, lifeline, ready_json=ready_json, open_in_browser=open)


@main.command("new")
@click.argument("path", type=click.Path(path_type=Path))
def new_command(path: Path) -> None:
    """Create a package with example actor types in PATH, to start your own from."""
    from callboard_service.new import create

    try:
        made = create(path)
    except ServiceError as error:
        _fail(error)
    for text in (*map(str, made), f"Now read {path / 'README.md'}."):
        click.echo(printable(text) if sys.stdout.isatty() else text)


def _fail(error: ServiceError) -> NoReturn:
    """Print the error on one line and exit with code 2."""
    click.echo(f"callboard: {printable(str(error))}", err=True)
    sys.exit(Exit.BAD_USE)


@main.command("chat")
@click.argument("text", required=False)
@click.option("--continue", "take_up", is_flag=True, help="Continue the last conversation.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="Folder in which the agent of a new conversation works, for the backend acp.",
)
@click.option("--url", help="The service's WebSocket URL; its token must be in CALLBOARD_TOKEN.")
@click.option(
    "--runtime-dir", type=click.Path(path_type=Path), help="Folder of the service's runtime file."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder for the chat's input history and last conversation.",
)
def chat_command(
    text: str | None,
    take_up: bool,
    directory: Path | None,
    url: str | None,
    **flags: Path | None,
) -> None:
    """Chat with a model through the running service.

    With TEXT, or text piped in, print only the reply and exit: with code 1 if the reply ended with
    an error or was lost, 2 for bad usage, 3 if no service is running. If the reply was cut off or
    the model refused, standard error says so and the exit code is 0.
    """
    # Imported here because `serve` does not need the terminal modules.
    from callboard_service.terminal.chat import Wish, chat

    given: dict[str, object] = {name: path for name, path in flags.items() if path is not None}
    sys.exit(chat(Wish(text, take_up, directory, url, given)))


def service_options(command: F) -> F:
    """Add the options that select the service a command talks to."""
    url = click.option(
        "--url", help="The service's WebSocket URL; its token must be in CALLBOARD_TOKEN."
    )
    folder = click.option(
        "--runtime-dir",
        type=click.Path(path_type=Path),
        help="Folder of the service's runtime file.",
    )
    return url(folder(command))


def _where(url: str | None, runtime_dir: Path | None) -> "Where":
    from callboard_service.terminal.command import Where

    return Where(url, {} if runtime_dir is None else {"runtime_dir": runtime_dir})


@main.group("sessions")
def sessions_group() -> None:
    """List, search, show, rename, archive, copy, delete and export conversations."""


@sessions_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--search", default="", help="Only those whose title or text contains this.")
@click.option("--archived", is_flag=True, help="Also archived ones.")
@service_options
def sessions_list(
    as_json: bool, search: str, archived: bool, url: str | None, runtime_dir: Path | None
) -> None:
    """List conversations, newest first, with their states."""
    from callboard_service.terminal import sessions
    from callboard_service.terminal.command import run

    async def work(client: "Client") -> None:
        await sessions.list_all(client, as_json=as_json, search=search, archived=archived)

    sys.exit(run(_where(url, runtime_dir), work))


@sessions_group.command("rename")
@click.argument("name")
@click.argument("title")
@click.option("--json", "as_json", is_flag=True, help="Print the conversation as JSON.")
@service_options
def sessions_rename(
    name: str, title: str, as_json: bool, url: str | None, runtime_dir: Path | None
) -> None:
    """Give a conversation a title; NAME is its id or the beginning of its id."""
    from callboard_service.terminal import sessions
    from callboard_service.terminal.command import run

    where = _where(url, runtime_dir)
    sys.exit(run(where, lambda client: sessions.rename(client, name, title, as_json=as_json)))


@sessions_group.command("archive")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the conversation as JSON.")
@service_options
def sessions_archive(name: str, as_json: bool, url: str | None, runtime_dir: Path | None) -> None:
    """Leave a conversation out of the list; NAME is its id or the beginning of its id."""
    _archive(name, _where(url, runtime_dir), archived=True, as_json=as_json)


@sessions_group.command("unarchive")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the conversation as JSON.")
@service_options
def sessions_unarchive(name: str, as_json: bool, url: str | None, runtime_dir: Path | None) -> None:
    """Bring an archived conversation back; NAME is its id or the beginning of its id."""
    _archive(name, _where(url, runtime_dir), archived=False, as_json=as_json)


def _archive(name: str, where: "Where", *, archived: bool, as_json: bool) -> NoReturn:
    from callboard_service.terminal import sessions
    from callboard_service.terminal.command import run

    async def work(client: "Client") -> None:
        await sessions.archive(client, name, archived=archived, as_json=as_json)

    sys.exit(run(where, work))


@sessions_group.command("fork")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the copy as JSON.")
@service_options
def sessions_fork(name: str, as_json: bool, url: str | None, runtime_dir: Path | None) -> None:
    """Copy a conversation and print the id of the copy; NAME is an id or its beginning."""
    from callboard_service.terminal import sessions
    from callboard_service.terminal.command import run

    where = _where(url, runtime_dir)
    sys.exit(run(where, lambda client: sessions.fork(client, name, as_json=as_json)))


@sessions_group.command("show")
@click.argument("name")
@service_options
def sessions_show(name: str, url: str | None, runtime_dir: Path | None) -> None:
    """Show one conversation; NAME is its id or the beginning of its id."""
    from callboard_service.terminal import sessions
    from callboard_service.terminal.command import run

    sys.exit(run(_where(url, runtime_dir), lambda client: sessions.show(client, name)))


@sessions_group.command("delete")
@click.argument("names", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@service_options
def sessions_delete(
    names: tuple[str, ...], yes: bool, url: str | None, runtime_dir: Path | None
) -> None:
    """Delete conversations for good and cancel their running replies.

    Each NAME is an id, or at least the first four characters of one. On a terminal the command
    asks for confirmation; elsewhere it requires --yes.
    """
    from callboard_service.terminal import sessions
    from callboard_service.terminal.command import run

    where = _where(url, runtime_dir)
    sys.exit(run(where, lambda client: sessions.delete(client, names, ask=not yes)))


@sessions_group.command("export")
@click.argument("name")
@click.option("--format", "form", type=click.Choice(["markdown", "json"]), default="markdown")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Write to this new file instead of standard output.",
)
@service_options
def sessions_export(
    name: str,
    form: "Format",
    output: Path | None,
    url: str | None,
    runtime_dir: Path | None,
) -> None:
    """Export a whole conversation as Markdown or JSON."""
    from callboard_service.terminal import sessions
    from callboard_service.terminal.command import run

    where = _where(url, runtime_dir)
    sys.exit(run(where, lambda client: sessions.export(client, name, form, output)))


@main.command("status")
@click.option("--watch", is_flag=True, help="Update live until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON once.")
@service_options
def status_command(watch: bool, as_json: bool, url: str | None, runtime_dir: Path | None) -> None:
    """Show the state of the running service: backend, sessions, requests, crashes, actors."""
    from callboard_service.terminal import status
    from callboard_service.terminal.command import run

    where = _where(url, runtime_dir)
    patient = watch and not as_json
    sys.exit(
        run(
            where,
            lambda client: status.show(client, watch=watch, as_json=as_json),
            patient=patient,
        )
    )


@main.command("open")
@click.option("--board", is_flag=True, help="Open the board in place of the chat.")
@click.option(
    "--print", "only_print", is_flag=True, help="Print the address, with the token, instead."
)
@click.option(
    "--runtime-dir", type=click.Path(path_type=Path), help="Folder of the service's runtime file."
)
def open_command(board: bool, only_print: bool, runtime_dir: Path | None) -> None:
    """Open the running service's page in the browser.

    Exit codes: 0 opened, 2 it cannot be opened, 3 no service is running.
    """
    from callboard_service.open_page import BOARD, address, open_page
    from callboard_service.terminal.refusals import HOW_TO_START
    from transport import discovery
    from transport.errors import NotRunning

    folder = runtime_dir or load({}).runtime_dir or discovery.default_folder()
    path = BOARD if board else ""
    try:
        record = discovery.find(folder)
        if only_print:
            click.echo(address(record, path))
        else:
            open_page(folder, record, path)
    except NotRunning:
        click.echo(f"callboard: no service is running: {HOW_TO_START}", err=True)
        sys.exit(Exit.NO_SERVICE)
    except ServiceError as error:
        _fail(error)


@main.command("agents")
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--no-start", is_flag=True, help="Only look which programs are installed.")
def agents_command(names: tuple[str, ...], as_json: bool, no_start: bool) -> None:
    """Show the agents for the backend acp: which are installed, and what they can do.

    Each agent that is installed is started and begins a session in a temporary folder; no model is
    asked. With NAMES, show everything that is known about these agents.
    """
    from callboard_service.list_agents import list_agents

    try:
        sys.exit(list_agents(names, as_json=as_json, start=not no_start))
    except ServiceError as error:
        _fail(error)
