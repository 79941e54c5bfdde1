"""The command `callboard sessions`: list, show, delete and export conversations."""

import json
import sys
from pathlib import Path
from typing import Final, Literal

from google.protobuf.json_format import MessageToDict
from prompt_toolkit import PromptSession
from rich.table import Table
from rich.text import Text

from callboard.v1.chat_pb2 import (
    DeleteSessionRequest,
    GetHistoryRequest,
    History,
    HistoryEntry,
    ListSessionsRequest,
    SessionDeleted,
    SessionInfo,
    SessionList,
)
from callboard_service.terminal.command import CALL_TIMEOUT
from callboard_service.terminal.errors import BadUse
from callboard_service.terminal.memory import write_new
from callboard_service.terminal.text import compact, error_line, one_line, tame
from callboard_service.terminal.view import make_console
from transport.client import Client

Format = Literal["markdown", "json"]

_PAGE: Final = 200
_SHORTEST: Final = 8
_SURE: Final = 4
"""Characters of an id that are no slip of a finger."""
_GAPS: Final = 4
_WHEN: Final = "2026-01-31 23:59"
_UNTITLED: Final = "(untitled)"


async def list_all(client: Client, *, as_json: bool) -> None:
    """Print all conversations, newest first."""
    infos = await _conversations(client)
    if as_json:
        print_json([MessageToDict(info, preserving_proto_field_name=True) for info in infos])
        return
    if not infos:
        make_console(sys.stderr).print("there are no conversations yet")
        return
    length = _telling_length([info.id for info in infos])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "changed (UTC)", "title"):
        table.add_column(name, no_wrap=True)
    console = make_console(sys.stdout)
    room = max(console.width - length - len(_WHEN) - _GAPS, _SHORTEST)
    for info in infos:
        title = Text(one_line(info.title, room) or _UNTITLED)
        table.add_row(Text(one_line(info.id[:length])), _when(info), title)
    console.print(table)


async def show(client: Client, name: str) -> None:
    """Print one conversation."""
    info = await _find(client, name)
    text = tame(as_markdown(info, await _history(client, info.id)))
    sys.stdout.write(text)


async def delete(client: Client, names: tuple[str, ...], *, ask: bool) -> None:
    """Delete conversations; all names must be right, and a person agree, before one is deleted."""
    found = [await _find(client, name) for name in names]
    for name, info in zip(names, found, strict=True):
        if len(name) < _SURE and name != info.id:
            raise BadUse(f"{name!r} is too short to delete by: {info.id} is the whole id")
    infos = {info.id: info for info in found}.values()
    if ask and not await _agreed([f"{info.id}: {_title(info)}" for info in infos]):
        raise BadUse("nothing was deleted")
    for info in infos:
        request = DeleteSessionRequest(session_id=info.id)
        await client.call(request, SessionDeleted, timeout=CALL_TIMEOUT)
        make_console(sys.stderr).print(Text(f"deleted {info.id}: {_title(info)}"))


async def _agreed(lines: list[str]) -> bool:
    """Ask whoever is at the terminal. Raises BadUse where nobody is."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadUse("nobody can be asked here: --yes deletes without")
    console = make_console(sys.stdout)
    for line in lines:
        console.print(Text(line))
    try:
        typed = await PromptSession[str]().prompt_async("Delete for good? [y/N] ")
    except EOFError:
        return False
    return typed.strip().lower() in ("y", "yes")


async def export(client: Client, name: str, form: Format, output: Path | None) -> None:
    """Write one conversation, whole, to a file (which must not be there) or standard output.

    The file is its user's alone, as the conversation is where it is kept.
    """
    info = await _find(client, name)
    entries = await _history(client, info.id)
    text = as_markdown(info, entries) if form == "markdown" else as_json(info, entries)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        write_new(output, text)
    except FileExistsError:
        raise BadUse(f"{output} is there already, and is not overwritten") from None
    except OSError as error:
        raise BadUse(f"{output} cannot be written: {error.strerror or error}") from error


def _telling_length(ids: list[str]) -> int:
    """So many characters tell the ids apart, and look like a name."""
    longest = max(map(len, ids))
    lengths = range(min(_SHORTEST, longest), longest)
    return next((n for n in lengths if len({name[:n] for name in ids}) == len(ids)), longest)


async def _conversations(client: Client) -> list[SessionInfo]:
    listed = await client.call(ListSessionsRequest(), SessionList, timeout=CALL_TIMEOUT)
    return list(listed.sessions)


async def _find(client: Client, name: str) -> SessionInfo:
    """The conversation of that id, or the only one whose id begins so."""
    infos = await _conversations(client)
    found = [info for info in infos if info.id == name]
    found = found or [info for info in infos if name and info.id.startswith(name)]
    if len(found) != 1:
        reason = "several conversations begin" if found else "no conversation begins"
        raise BadUse(f"{reason} with {name!r}; `callboard sessions list` shows them")
    return found[0]


async def _history(client: Client, conversation_id: str) -> list[HistoryEntry]:
    entries: list[HistoryEntry] = []
    before, more = "", True
    while more:
        request = GetHistoryRequest(session_id=conversation_id, limit=_PAGE, before=before)
        page = await client.call(request, History, timeout=CALL_TIMEOUT)
        entries[:0] = page.entries
        more = page.more and bool(page.entries)
        before = page.entries[0].id if page.entries else ""
    return entries


def as_json(info: SessionInfo, entries: list[HistoryEntry]) -> str:
    """The conversation as JSON, with the contract's field names."""
    whole = MessageToDict(info, preserving_proto_field_name=True)
    whole["entries"] = [MessageToDict(entry, preserving_proto_field_name=True) for entry in entries]
    return json.dumps(whole, ensure_ascii=False, indent=2) + "\n"


def print_json(value: object) -> None:
    """Write JSON to standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def as_markdown(info: SessionInfo, entries: list[HistoryEntry]) -> str:
    """The conversation as Markdown: who said what, tools and errors as they came."""
    parts = [f"# {_title(info)}", *map(_section, entries)]
    return "\n\n".join(parts) + "\n"


def _section(entry: HistoryEntry) -> str:
    match entry.WhichOneof("entry"):
        case "user_text":
            return f"## You\n\n{entry.user_text}"
        case "assistant_text":
            return f"## Reply\n\n{entry.assistant_text}"
        case "tool_call":
            call = entry.tool_call
            return f"**Tool** `{call.name} {compact(call.arguments)}`"
        case "tool_result":
            result = entry.tool_result
            kind = "Tool failed" if result.is_error else "Result"
            return f"**{kind}**\n\n{_fenced(result.output)}"
        case "error" if entry.error.code == "CANCELLED":
            return f"*(cancelled: {one_line(entry.error.message)})*"
        case "error":
            return f"**Error** {error_line(entry.error)}"
        case _:
            return "*(an entry that this version does not know)*"


def _fenced(text: str) -> str:
    """A code block that nothing in the text ends."""
    longest = max((len(run) for run in _runs(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _runs(text: str) -> list[str]:
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]


def _title(info: SessionInfo) -> str:
    return one_line(info.title) or _UNTITLED


def _when(info: SessionInfo) -> str:
    return info.updated_at.ToDatetime().strftime("%Y-%m-%d %H:%M")
