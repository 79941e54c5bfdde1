"""Reads what a person types: messages, answers to asks, and keys between pages."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from enum import Enum
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import Output

from callboard_service.terminal.errors import InputEnded, Interrupted
from callboard_service.terminal.keyboard import Keyboard
from callboard_service.terminal.text import clean_input

PROMPT: Final = "> "


class Turn(Enum):
    """What the person chooses between two pages of an ask."""

    MORE = "more"
    REFUSE = "refuse"


def _continued(width: int, _line: int, wraps: int) -> str:
    """Return the prefix of a continuation line: a dot after a newline, spaces after a wrap.

    Empty after a prompt longer than PROMPT: it may be wider than the terminal, and the prefix would
    leave no room for the text.
    """
    if width > len(PROMPT):
        return ""
    return " " * width if wraps else "·".ljust(width)


class Prompts:
    """The input line. Pasted line breaks are kept; Alt-Enter inserts one."""

    def __init__(
        self, history: History, *, input: Input | None = None, output: Output | None = None
    ) -> None:
        keys = KeyBindings()

        @keys.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        def session(
            history: History | None, keys: KeyBindings = keys, *, stays: bool = True
        ) -> PromptSession[str]:
            return PromptSession(
                history=history,
                key_bindings=keys,
                prompt_continuation=_continued,
                input=input,
                output=output,
                interrupt_exception=Interrupted,
                eof_exception=InputEnded,
                erase_when_done=not stays,
            )

        self._messages = session(history)
        self._answers = session(None)
        self._turns = session(None, _turning(), stays=False)
        self._draft = Document()
        self.keyboard: Keyboard = Keyboard(self._answers.app.input)

    async def message(self, woken: Coroutine[None, None, None]) -> str | None:
        """Read the next message; return None if `woken` finishes first.

        Then the prompt is erased, and the next call begins with what was typed in this one. Raises
        Interrupted and InputEnded.
        """
        session, draft = self._messages, self._draft
        self._draft = Document()

        def keep() -> None:
            self._draft = session.default_buffer.document
            session.app.erase_when_done = True

        try:
            typed = await _until(session, ("bold", PROMPT), woken, keep, draft)
        except EOFError:
            raise InputEnded from None
        finally:
            session.app.erase_when_done = False
        return None if typed is None else clean_input(typed)

    @property
    def drafted(self) -> bool:
        """Whether the next `message` begins with text."""
        return bool(self._draft.text.strip())

    def draft(self, text: str) -> None:
        """Have the next `message` begin with this text."""
        self._draft = Document(text)

    @property
    def discarded(self) -> bool:
        """Whether the line of `message` was not empty when it was interrupted."""
        return bool(self._messages.default_buffer.text)

    async def answer(self, hint: str, settled: Coroutine[None, None, None]) -> str | None:
        """Read a line; return None if `settled` finishes first.

        The end of the input counts as an empty line. Raises Interrupted.
        """
        typed = await _answered(self._answers, f"  {hint}: ", settled)
        return None if typed is None else clean_input(typed)

    async def turn(self, hint: str, settled: Coroutine[None, None, None]) -> Turn | None:
        """Wait for the key that turns a page: Enter or space for the next, r to refuse.

        All other keys and pasted text are ignored. Returns None if `settled` finishes first. The
        end of the input counts as a refusal. Raises Interrupted.
        """
        typed = await _answered(self._turns, hint, settled)
        return None if typed is None else Turn(typed or Turn.REFUSE.value)


def _turning() -> KeyBindings:
    keys = KeyBindings()

    @keys.add(Keys.Any)
    @keys.add(Keys.BracketedPaste)
    def _(_event: KeyPressEvent) -> None:
        """Do nothing."""

    @keys.add("enter")
    @keys.add(" ")
    def _(event: KeyPressEvent) -> None:
        event.app.exit(result=Turn.MORE.value)

    @keys.add("r")
    @keys.add("R")
    @keys.add("c-d")
    def _(event: KeyPressEvent) -> None:
        event.app.exit(result=Turn.REFUSE.value)

    return keys


async def _answered(
    session: PromptSession[str], text: str, settled: Coroutine[None, None, None]
) -> str | None:
    """Return what is typed, empty at the end of the input; None if `settled` finishes first."""
    try:
        return await _until(session, ("", text), settled)
    except (EOFError, InputEnded):
        return ""


async def _until(
    session: PromptSession[str],
    prompt: tuple[str, str],
    other: Coroutine[None, None, None],
    leaving: Callable[[], None] = lambda: None,
    draft: Document | None = None,
) -> str | None:
    """Return what is typed; None, after calling `leaving`, if `other` finishes first.

    prompt: its style and its text. draft: what is in the line at the beginning.
    """
    typing = asyncio.ensure_future(
        session.prompt_async(FormattedText([prompt]), default=draft or Document())
    )
    waiting = asyncio.ensure_future(other)
    try:
        await asyncio.wait({typing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if typing.done() or session.app.is_done:
            return await typing
        leaving()
        session.app.exit(result="")
        await typing
    finally:
        for task in (typing, waiting):
            task.cancel()
        await asyncio.gather(typing, waiting, return_exceptions=True)
    return None


class TypedLines(FileHistory):
    """A history file. If it cannot be read or written, the history lasts only for this run."""

    def load_history_strings(self) -> Iterable[str]:
        """Return the lines of earlier runs, newest first; none if the file cannot be read."""
        try:
            return list(super().load_history_strings())
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        """Append a line to the file; errors are ignored."""
        with contextlib.suppress(OSError):
            super().store_string(string)
