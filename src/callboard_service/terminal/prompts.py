"""The lines that a person types: messages, and the answers to asks."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output

from callboard_service.terminal.errors import InputEnded, Interrupted
from callboard_service.terminal.text import clean_input

PROMPT: Final = "> "


def _continued(width: int, _line: int, wraps: int) -> str:
    """What stands before a further line; a long one that is only wrapped gets just space."""
    return " " * width if wraps else "·".ljust(width)


class Prompts:
    """The input line. Keeps what is pasted whole, line breaks too; Alt-Enter makes one."""

    def __init__(
        self, history: History, *, input: Input | None = None, output: Output | None = None
    ) -> None:
        keys = KeyBindings()

        @keys.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        def session(history: History | None) -> PromptSession[str]:
            return PromptSession(
                history=history,
                key_bindings=keys,
                prompt_continuation=_continued,
                input=input,
                output=output,
                interrupt_exception=Interrupted,
                eof_exception=InputEnded,
            )

        self._messages = session(history)
        self._answers = session(None)

    async def message(self) -> str:
        """The next message. Raises Interrupted and InputEnded."""
        try:
            typed = await self._messages.prompt_async([("bold", PROMPT)])
        except EOFError:
            raise InputEnded from None
        return clean_input(typed)

    @property
    def discarded(self) -> bool:
        """Something stood on the line of `message` when it was interrupted."""
        return bool(self._messages.default_buffer.text)

    async def answer(self, hint: str, settled: Coroutine[None, None, None]) -> str | None:
        """A line; None if `settled` came first. Raises Interrupted; InputEnded is an empty line."""
        text = FormattedText([("", f"  {hint}: ")])
        typing = asyncio.ensure_future(self._answers.prompt_async(text))
        closing = asyncio.ensure_future(settled)
        try:
            await asyncio.wait({typing, closing}, return_when=asyncio.FIRST_COMPLETED)
            if typing.done():
                return clean_input(typing.result())
            self._answers.app.exit(result="")
            await typing
        except (EOFError, InputEnded):
            return ""
        finally:
            for task in (typing, closing):
                task.cancel()
            await asyncio.gather(typing, closing, return_exceptions=True)
        return None


class TypedLines(FileHistory):
    """A history file that may be unreadable, or full: then what was typed lasts the program."""

    def load_history_strings(self) -> Iterable[str]:
        """The lines of before, newest first."""
        try:
            return list(super().load_history_strings())
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        """Keep one."""
        with contextlib.suppress(OSError):
            super().store_string(string)
