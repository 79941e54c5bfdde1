"""Implements `callboard chat`: chooses between interactive and one-shot mode, and the exit code."""

import asyncio
import contextlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from callboard_service.errors import BadSettings
from callboard_service.load_settings import load
from callboard_service.terminal.command import Where
from callboard_service.terminal.connect import PATIENT, SETTINGS, Link, Way
from callboard_service.terminal.conversation import Conversation
from callboard_service.terminal.errors import BadUse, NoService, OutputFailed
from callboard_service.terminal.exits import Exit, drop_unwritable_output
from callboard_service.terminal.interrupts import Interrupts
from callboard_service.terminal.memory import Memory
from callboard_service.terminal.oneshot import OneShot
from callboard_service.terminal.styles import ERROR
from callboard_service.terminal.text import clean_input, one_line
from callboard_service.terminal.view import Pipe, Screen, make_console, standard_output
from transport.errors import ConnectionClosed


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for.

    text: None if it comes from a pipe or is typed in a chat. directory: in which the agent of a new
    conversation works; None: the backend's own.
    """

    text: str | None = None
    take_up: bool = False
    directory: Path | None = None
    url: str | None = None
    flags: dict[str, object] = field(default_factory=dict)


def chat(wish: Wish) -> int:
    """Run the command and return the exit code.

    0 done, 1 the reply ended with an error or was lost, or the output cannot be written, 2 bad use,
    3 no service was found or it does not accept the client, 130 Ctrl-C, 141 standard output is
    closed.
    """
    errors = make_console(sys.stderr)
    try:
        return _chat(wish)
    except (BadSettings, BadUse) as error:
        code = Exit.BAD_USE
        said = str(error)
    except NoService as error:
        code = Exit.NO_SERVICE
        said = str(error)
    except ConnectionClosed as closed:
        code = Exit.FAILED
        said = str(closed)
    except OutputFailed as error:
        drop_unwritable_output()
        if error.closed:
            return Exit.PIPE_CLOSED
        code = Exit.FAILED
        said = str(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    with contextlib.suppress(OSError):
        errors.print(f"callboard: {one_line(said, 1000)}", style=ERROR, soft_wrap=True)
    return code


def _chat(wish: Wish) -> int:
    if wish.directory is not None and wish.take_up:
        raise BadUse("a conversation that is continued has its directory already")
    settings = load(wish.flags)
    memory = Memory(settings.data_dir)
    if sys.stdout is None:
        return Exit.PIPE_CLOSED
    find = Where(wish.url, wish.flags).find()
    text = _text(wish)
    return asyncio.run(_talk(wish, text, find, memory))


def _text(wish: Wish) -> str | None:
    """Return the message: the argument, then the piped input after a blank line.

    Returns None for an interactive chat. Raises BadUse.
    """
    piped = "" if sys.stdin is None or sys.stdin.isatty() else _read_all(sys.stdin)
    parts = [part for part in (clean_input(wish.text or ""), piped) if part.strip()]
    if parts:
        return "\n\n".join(parts)
    if wish.text is not None or sys.stdin is None or not sys.stdin.isatty():
        raise BadUse("nothing to send: pass a text as an argument, or pipe one in")
    if not sys.stdout.isatty():
        raise BadUse(
            "an interactive chat needs a terminal on standard output; otherwise pass a text"
        )
    return None


def _absolute(directory: Path | None) -> str:
    return "" if directory is None else str(directory.absolute())


def _read_all(stdin: TextIO) -> str:
    return stdin.buffer.read().decode("utf-8-sig", "replace").rstrip("\r\n")


async def _talk(wish: Wish, text: str | None, find: Way, memory: Memory) -> int:
    screen = Screen(make_console(sys.stdout)) if text is None else None
    settings, tell = (SETTINGS, None) if screen is None else (PATIENT, screen.line)
    with Interrupts() as interrupts:
        try:
            async with Link(find, settings, tell=tell) as link:
                conversation = Conversation(memory, _absolute(wish.directory))
                if screen is not None:
                    # Imported here, so that a script does not wait for prompt_toolkit to load.
                    from callboard_service.terminal.interactive import Chat
                    from callboard_service.terminal.prompts import Prompts, TypedLines

                    prompts = Prompts(TypedLines(memory.typed()))
                    person = Chat(link, conversation, screen, prompts, interrupts)
                    await person.run(take_up=wish.take_up)
                    return Exit.DONE
                pipe = Pipe(standard_output(), make_console(sys.stderr))
                once = OneShot(link, conversation, pipe, interrupts)
                return await once.run(text or "", take_up=wish.take_up)
        except asyncio.CancelledError:
            if interrupts.leaving:
                return Exit.INTERRUPTED
            raise
