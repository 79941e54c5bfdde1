"""What is printed: on one screen for a person, or apart for a pipe.

Text streams as it comes and is never drawn again, so that the scrollback stays whole. Every console
tames what it prints, so that no text of a model, a tool or a service steers the terminal.
"""

import contextlib
import io
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Final, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment, Segments
from rich.style import Style

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatError,
    ChatNotice,
    HistoryEntry,
    ToolCallEvent,
    ToolResultEvent,
)
from callboard_service.terminal.errors import OutputFailed
from callboard_service.terminal.sheet import UNWRAPPED, Line, Sheet
from callboard_service.terminal.text import (
    compact,
    error_line,
    first_lines,
    last_lines,
    one_line,
    tame,
)

RESULT_LINES: Final = 4
RECALLED_LINES: Final = 3

PLAIN: Final = Style.null()
DIM: Final = Style(dim=True)
TOOL: Final = Style(color="cyan")
ASK: Final = Style(color="yellow", bold=True)
ERROR: Final = Style(color="red")


class View(ABC):
    """Shows one reply after another: lines about it, and between them the text of it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._calls: dict[str, ToolCallEvent] = {}

    @abstractmethod
    def token(self, text: str) -> None:
        """A part of the reply."""

    @abstractmethod
    def reasoning(self, text: str) -> None:
        """A part of what the model thinks before."""

    @abstractmethod
    def _start_line(self) -> None:
        """Be at the start of a line, for one that is about the reply."""

    def line(self, text: str, style: Style = DIM) -> None:
        """A line about the reply; `text` is fit for a terminal already."""
        self._start_line()
        self._write(text + "\n", style)

    def _write(self, text: str, style: Style) -> None:
        # Segments are written as they are: no wrapping, no tabs made spaces.
        self._console.print(Segments([Segment(text, style)]), end="", soft_wrap=True)

    def failure(self, text: str) -> None:
        """Something went wrong."""
        self.line(text, ERROR)

    def error(self, error: ChatError) -> None:
        """The service's own word for it."""
        self.failure(error_line(error))

    def tool_call(self, call: ToolCallEvent) -> None:
        """The model uses a tool."""
        self._calls[call.call_id] = call
        self.line(f"tool {_name(call)} {compact(call.arguments)}".rstrip(), TOOL)

    def tool_result(self, result: ToolResultEvent) -> None:
        """What the tool said, its first lines."""
        call = self._calls.pop(result.call_id, None)
        name = "" if call is None else _name(call)
        lines = first_lines(result.output, RESULT_LINES)
        if result.is_error:
            self.line(f"  error of tool {name}".rstrip(), ERROR)
        for line in lines:
            self.line(f"  {line}", ERROR if result.is_error else DIM)

    def notice(self, notice: ChatNotice) -> None:
        """A word of the service's while the reply goes on."""
        if notice.message:
            self.line(one_line(notice.message))
        if notice.discard_tokens == 1:
            self.line("the last token above is void; it comes again")
        elif notice.discard_tokens:
            self.line(f"the last {notice.discard_tokens} tokens above are void; they come again")

    def sheet(self, ask: AskEvent) -> Sheet:
        """Return the whole of an ask, with the tool call that it is about, to be printed."""
        return Sheet(ask, self._calls.get(ask.call_id), self._console.encoding)

    def ask(self, ask: AskEvent) -> None:
        """Print the whole of an ask, however long it is."""
        terminal = self._console.is_terminal
        self.sheet_lines(self.sheet(ask).lines(self._console.width - 1 if terminal else UNWRAPPED))

    def sheet_lines(self, lines: Iterable[Line]) -> None:
        """Print lines of an ask."""
        for line in lines:
            self.line(line.text, ASK if line.heading else PLAIN)

    def ask_closed(self, closed: AskClosed) -> None:
        """An ask was settled by somebody else, or is void."""
        answers = ", ".join(one_line(answer) for answer in closed.answers)
        self.line(f"  answered elsewhere: {answers}" if answers else "  this needs no answer now")

    def end(self) -> None:
        """The reply is over."""
        self._start_line()
        self._calls.clear()


def _name(call: ToolCallEvent) -> str:
    return one_line(call.name, 60)


class Screen(View):
    """One terminal for all of it."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._column_0 = True
        self._reasoned = False

    def token(self, text: str) -> None:
        """As it comes."""
        if self._reasoned:
            self._start_line()
        self._stream(text, PLAIN)

    def reasoning(self, text: str) -> None:
        """Dim, on lines of its own."""
        if not self._reasoned:
            self._start_line()
        self._stream(text, DIM)
        self._reasoned = True

    def _stream(self, text: str, style: Style) -> None:
        if text:
            self._write(text, style)
            self._column_0 = text.endswith("\n")

    def gap(self) -> None:
        """An empty line, between one message and the next."""
        self.line("")

    def _start_line(self) -> None:
        if not self._column_0:
            self._write("\n", PLAIN)
        self._column_0 = True
        self._reasoned = False

    def recall(self, entries: Iterable[HistoryEntry]) -> None:
        """The last words of a conversation that is taken up."""
        for entry in entries:
            match entry.WhichOneof("entry"):
                case "user_text":
                    for line in last_lines(entry.user_text, RECALLED_LINES):
                        self.line(f"> {line}")
                case "assistant_text":
                    for line in last_lines(entry.assistant_text, RECALLED_LINES):
                        self.line(line)
                case "tool_call":
                    self.tool_call(entry.tool_call)
                case "tool_result":
                    self.tool_result(entry.tool_result)
                case "error":
                    self.error(entry.error)
                case "reasoning_text" | "ask" | "ask_closed" | None:
                    pass


class Pipe(View):
    """The reply on standard output and nothing else there; the rest on standard error.

    The reply ends with one newline, whatever it ended with. Raises OutputFailed.
    """

    def __init__(self, out: TextIO, console: Console) -> None:
        super().__init__(console)
        self._out = out
        # Into a file or a pipe the reply goes as it is.
        self._terminal = out.isatty()
        self._said = False
        self._amid_line = False
        self._newlines = ""

    def token(self, text: str) -> None:
        """As it comes; newlines at the end are kept back until more follows."""
        text = self._newlines + (tame(text) if self._terminal else text)
        said = text.rstrip("\n")
        self._newlines = text[len(said) :]
        if said:
            self._said = self._amid_line = True
            self._put(said)

    def reasoning(self, text: str) -> None:
        """Not a part of the reply."""

    def end(self) -> None:
        """The reply is over: the one newline."""
        if self._said:
            self._put("\n")
        self._said = self._amid_line = False
        self._newlines = ""

    def _put(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except OSError as error:
            raise OutputFailed(error) from error

    def _start_line(self) -> None:
        # On one terminal both come together; the reply itself gets no newline for that.
        if self._amid_line and self._terminal and self._console.is_terminal:
            self._write("\n", PLAIN)
        self._amid_line = False

    def _write(self, text: str, style: Style) -> None:
        # Where standard error cannot be written the reply still matters.
        with contextlib.suppress(OSError):
            super()._write(text, style)


class _Console(Console):
    """Writes no character that steers a terminal, whatever text it is given."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(tame(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        # rich would send standard output to nowhere and exit, also when it is standard error that
        # nobody reads.
        self.quiet = True


def make_console(file: TextIO | None) -> Console:
    """Return a console that marks nothing up by itself, fails for no character, and tames text.

    None, as Python has it for a standard stream that was closed: what is printed goes nowhere.
    """
    if isinstance(file, io.TextIOWrapper):
        file.reconfigure(errors="replace")
    return _Console(file=file or io.StringIO(), highlight=False, markup=False, emoji=False)


def standard_output() -> TextIO:
    """Return standard output: a terminal gets what it can show, all else UTF-8 on every system."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="replace")
        else:
            sys.stdout.reconfigure(encoding="utf-8")
    return sys.stdout
