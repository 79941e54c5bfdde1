"""Implements `callboard sessions`: list, show, change, copy, delete and export conversations."""

import contextlib
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Final, Literal, TextIO
from uuid import uuid4

from prompt_toolkit import PromptSession
from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style
from rich.text import Text

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import (
    ConversationState,
    DeleteSessionRequest,
    ForkSessionRequest,
    SessionDeleted,
    SessionInfo,
    UpdateSessionRequest,
)
from callboard_service.terminal import export as written
from callboard_service.terminal.errors import BadUse
from callboard_service.terminal.export import UNTITLED, json_list, title
from callboard_service.terminal.layout import table
from callboard_service.terminal.pages import CALL_TIMEOUT, LISTED, conversations, history
from callboard_service.terminal.plain import as_dict, time_of
from callboard_service.terminal.text import one_line, tame, tame_json
from callboard_service.terminal.view import make_console, standard_output
from transport.client import Client
from transport.errors import RequestFailed

Format = Literal["markdown", "json"]

_SURE: Final = 4
"""The fewest characters of an id that select a conversation to delete; guards against typos."""
_SHORTEST: Final = 8
"""The fewest characters of an id that are printed."""
_INDEXED: Final = 3
"""The fewest characters of a search that services look for in texts."""
_ARCHIVED: Final = "archived"
_STATES: Final = {
    ConversationState.CONVERSATION_STATE_IDLE: "idle",
    ConversationState.CONVERSATION_STATE_RUNNING: "running",
    ConversationState.CONVERSATION_STATE_WAITING: "waiting",
}
_BOLD: Final = Style(bold=True)


async def list_all(
    client: Client, *, as_json: bool, search: str = "", archived: bool = False
) -> None:
    """Print all conversations with their states, newest first.

    search: only those whose title or text contains this. archived: also archived ones. Raises
    RequestFailed if the service cannot search.
    """
    if search and "search" not in client.welcome.features:
        raise RequestFailed(Code.UNIMPLEMENTED, "this service cannot search")
    found = conversations(client, search=search, archived=archived)
    if as_json:
        await _print(json_list(found), tame_json)
        sys.stdout.write("\n")
        return
    console = make_console(sys.stdout)
    # Only the row of each conversation is kept, since titles may be long.
    rows = [
        (one_line(info.id), _when(info), _state(info), one_line(info.title, console.width))
        async for info in found
    ]
    if not rows:
        make_console(sys.stderr).print(_nothing(search))
        return
    length = _telling_length([name for name, *_ in rows])
    shown = [(name[:length], when, state, text or UNTITLED) for name, when, state, text in rows]
    heading = ("id", "changed (UTC)", "state", "title")
    head, *lines = table([heading, *shown], console.width, indent="")
    _print_rows(console, [head], _BOLD)
    for start in range(0, len(lines), LISTED):
        _print_rows(console, lines[start : start + LISTED])


def _nothing(search: str) -> str:
    if not search:
        return "there are no conversations yet"
    short = "; a search this short may look at titles only" if len(search) < _INDEXED else ""
    return f"nothing was found{short}"


def _state(info: SessionInfo) -> str:
    """Return what runs in a conversation; else whether it is archived."""
    state = _STATES.get(info.state, "")
    return _ARCHIVED if info.archived and state in ("", "idle") else state


def _print_rows(console: Console, rows: list[str], style: Style | None = None) -> None:
    segments = [Segment(row + "\n", style) for row in rows]
    console.print(Segments(segments), end="", soft_wrap=True)


async def rename(client: Client, name: str, new: str, *, as_json: bool) -> None:
    """Give a conversation a title. Raises BadUse if `name` does not select exactly one."""
    if not new.strip():
        raise BadUse("the title is empty")
    await _update(client, name, "renamed", as_json=as_json, title=new)


async def archive(client: Client, name: str, *, archived: bool, as_json: bool) -> None:
    """Leave a conversation out of the list, or bring it back. Raises BadUse as `rename` does."""
    done = "archived" if archived else "brought back"
    await _update(client, name, done, as_json=as_json, archived=archived)


async def _update(
    client: Client,
    name: str,
    done: str,
    *,
    as_json: bool,
    title: str | None = None,
    archived: bool | None = None,
) -> None:
    (info,) = await _find(client, name)
    request = UpdateSessionRequest(session_id=info.id, title=title, archived=archived)
    changed = await client.call(request, SessionInfo, timeout=CALL_TIMEOUT)
    _report(changed, done, as_json=as_json)


async def fork(client: Client, name: str, *, as_json: bool) -> None:
    """Copy a conversation, and print the id of the copy on standard output.

    Raises BadUse if `name` does not select exactly one.
    """
    if "fork" not in client.welcome.features:
        raise RequestFailed(Code.UNIMPLEMENTED, "this service cannot copy conversations")
    (info,) = await _find(client, name)
    request = ForkSessionRequest(session_id=info.id, create_id=str(uuid4()))
    copy = await client.call(request, SessionInfo, timeout=CALL_TIMEOUT)
    if not as_json:
        out = standard_output()
        out.write(one_line(copy.id, 1000) + "\n")
        out.flush()
    _report(copy, f"copied {one_line(info.id)} to", as_json=as_json)


def _report(info: SessionInfo, done: str, *, as_json: bool) -> None:
    """Print what was done to a conversation: on standard error, or its JSON."""
    if as_json:
        print_json(as_dict(info))
    else:
        _tell(done, info)


def _tell(done: str, info: SessionInfo) -> None:
    line = Text(f"{done} {one_line(info.id)}: {title(info)}")
    make_console(sys.stderr).print(line, soft_wrap=True)


async def show(client: Client, name: str) -> None:
    """Print one conversation. Raises BadUse if `name` does not select exactly one."""
    (info,) = await _find(client, name)
    out = standard_output()
    async for piece in written.as_markdown(info, history(client, info.id)):
        out.write(tame(piece))


async def delete(client: Client, names: tuple[str, ...], *, ask: bool) -> None:
    """Delete conversations, after checking all names and, if `ask`, asking for confirmation.

    Raises BadUse, before anything is deleted, for a wrong name or without confirmation.
    """
    found = await _find(client, *names)
    for name, info in zip(names, found, strict=True):
        if len(name) < _SURE and name != info.id:
            raise BadUse(
                f"{name!r} is too short to delete a conversation by; the whole id is {info.id}"
            )
    infos = {info.id: info for info in found}.values()
    if ask and not await _agreed([f"{one_line(info.id)}: {title(info)}" for info in infos]):
        raise BadUse("nothing was deleted")
    for info in infos:
        request = DeleteSessionRequest(session_id=info.id)
        await client.call(request, SessionDeleted, timeout=CALL_TIMEOUT)
        _tell("deleted", info)


async def _agreed(lines: list[str]) -> bool:
    """Ask for confirmation on the terminal. Raises BadUse if there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadUse("cannot ask for confirmation without a terminal; --yes deletes without asking")
    console = make_console(sys.stdout)
    for line in lines:
        console.print(Text(line))
    try:
        typed = await PromptSession[str]().prompt_async("Delete for good? [y/N] ")
    except EOFError:
        return False
    return typed.strip().lower() in ("y", "yes")


async def export(client: Client, name: str, form: Format, output: Path | None) -> None:
    """Write a whole conversation to a new file or to standard output.

    Raises BadUse if `name` does not select exactly one, or the file exists or cannot be written.
    """
    (info,) = await _find(client, name)
    entries = history(client, info.id)
    pieces = (
        written.as_markdown(info, entries) if form == "markdown" else written.as_json(info, entries)
    )
    if output is None:
        await _print(pieces, tame if form == "markdown" else tame_json)
        return
    with _new_file(output) as file:
        async with aclosing(pieces):
            async for piece in pieces:
                file.write(piece)


async def _print(pieces: AsyncGenerator[str, None], harmless: Callable[[str], str]) -> None:
    """Write each piece to standard output as it comes; on a terminal, made `harmless` first."""
    out = standard_output()
    terminal = out.isatty()
    async with aclosing(pieces):
        async for piece in pieces:
            out.write(harmless(piece) if terminal else piece)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    """Create a file of mode 0600 and open it for writing; remove it again if the block fails.

    Raises BadUse if the file exists or cannot be written.
    """
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BadUse(f"{path} exists already and is not overwritten") from None
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            yield file
    except BaseException as error:
        with contextlib.suppress(OSError):
            path.unlink()
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise


def _unwritable(path: Path, error: OSError) -> BadUse:
    return BadUse(f"cannot write {path}: {error.strerror or error}")


def _telling_length(ids: list[str]) -> int:
    """Return how many leading characters, 8 or more, distinguish all the ids."""
    longest = max(map(len, ids))
    lengths = range(min(_SHORTEST, longest), longest)
    return next((n for n in lengths if len({name[:n] for name in ids}) == len(ids)), longest)


async def _find(client: Client, *names: str) -> list[SessionInfo]:
    """Return for each name the conversation with that id, or the only one whose id begins with it.

    Raises BadUse if none or several begin with it.
    """
    exact: dict[str, SessionInfo] = {}
    begun: dict[str, list[SessionInfo]] = {name: [] for name in names}
    async for info in conversations(client, archived=True):
        for name in begun:
            if info.id == name:
                exact[name] = info
            elif name and info.id.startswith(name):
                begun[name] = [*begun[name], info][:2]
        if len(exact) == len(begun):
            break
    found = []
    for name in names:
        candidates = [exact[name]] if name in exact else begun[name]
        if len(candidates) != 1:
            reason = "several ids begin" if candidates else "no conversation's id begins"
            raise BadUse(f"{reason} with {name!r}; `callboard sessions list --archived` shows all")
        found += candidates
    return found


def print_json(value: object) -> None:
    """Write a value as JSON to standard output."""
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    out = standard_output()
    out.write(tame_json(text) if out.isatty() else text)


def _when(info: SessionInfo) -> str:
    return time_of(info.updated_at, "%Y-%m-%d %H:%M")
