"""Prints replies: on one screen for a person, or on separate outputs for a pipe.

Text is printed as it comes and never redrawn, so that the scrollback stays intact. Every console
makes control characters visible, so that no text of a model, a tool or a service can control the
terminal.
"""

import contextlib
import io
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment, Segments
from rich.style import Style

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    Attachment,
    ChatError,
    ChatNotice,
    HistoryEntry,
    PlanEvent,
    SteerEvent,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    UsageEvent,
)
from callboard_service.terminal.ask_layout import UNWRAPPED, Line, Sheet
from callboard_service.terminal.errors import OutputFailed
from callboard_service.terminal.layout import (
    Styled,
    attachment_text,
    diff_lines,
    message_lines,
    plan_lines,
    table,
)
from callboard_service.terminal.styles import ASK, DIM, ERROR, PLAIN, TOOL
from callboard_service.terminal.text import (
    compact,
    error_line,
    first_lines,
    is_nearly_full,
    last_lines,
    one_line,
    tame,
    used,
)

RESULT_LINES: Final = 4
PROGRESS_EVERY: Final = 1.0
"""Seconds between two lines about the progress of tools."""
RECALLED_LINES: Final = 3
MESSAGE_LINES: Final = 10


class View(ABC):
    """Shows one reply after another: its text, and lines about it in between.

    now: returns the time in seconds.
    """

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._calls: dict[str, ToolCallEvent] = {}
        self._now = now
        self._next_progress = 0.0

    @abstractmethod
    def token(self, text: str) -> None:
        """Print a part of the reply."""

    @abstractmethod
    def reasoning(self, text: str) -> None:
        """Print a part of the model's reasoning."""

    @abstractmethod
    def _start_line(self) -> None:
        """Move to the start of a line, for a line about the reply."""

    def line(self, text: str, style: Style = DIM) -> None:
        """Print a line about the reply; `text` must already be safe for a terminal."""
        self._start_line()
        self._write(text + "\n", style)

    def _write(self, text: str, style: Style) -> None:
        # Segments are written as they are: rich neither wraps them nor expands tabs.
        self._console.print(Segments([Segment(text, style)]), end="", soft_wrap=True)

    def lines(self, lines: Iterable[Styled]) -> None:
        """Print lines about the reply, each in its style."""
        for text, style in lines:
            self.line(text, style)

    def failure(self, text: str) -> None:
        """Print a line about something that went wrong."""
        self.line(text, ERROR)

    def error(self, error: ChatError) -> None:
        """Print an error of the service's."""
        self.failure(error_line(error))

    def tool_call(self, call: ToolCallEvent) -> None:
        """Print a line about a tool call, and remember it for its result and for asks."""
        self._calls[call.call_id] = call
        self.line(f"tool {_name(call)} {compact(call.arguments)}".rstrip(), TOOL)

    def tool_progress(self, progress: ToolProgressEvent) -> None:
        """Print the last line of a tool's output so far, at most once in PROGRESS_EVERY seconds."""
        lines = last_lines(progress.output, 1)
        now = self._now()
        if lines[-1] and now >= self._next_progress:
            self._next_progress = now + PROGRESS_EVERY
            self.line(f"  … {lines[-1]}")

    def plan(self, plan: PlanEvent) -> None:
        """Print a plan as a short list."""
        self.lines(plan_lines(plan))

    def usage(self, usage: UsageEvent) -> None:
        """Print what the conversation has used, if that is nearly all of the model's context."""
        if is_nearly_full(usage):
            self.line(used(usage))

    def steered(self, steer: SteerEvent) -> None:
        """Print a message that was handed to the running reply."""
        first, *more = message_lines(steer.text, steer.attachments, MESSAGE_LINES) or [""]
        self.line(f"> steered: {first}".rstrip())
        for line in more:
            self.line(f"> {line}")

    def tool_result(self, result: ToolResultEvent) -> None:
        """Print the first lines of a tool's result."""
        call = self._calls.pop(result.call_id, None)
        name = "" if call is None else _name(call)
        lines = first_lines(result.output, RESULT_LINES) if result.output.strip() else []
        if result.is_error:
            self.line(f"  tool {name} failed" if name else "  tool failed", ERROR)
        for line in lines:
            self.line(f"  {line}", ERROR if result.is_error else DIM)
        self.lines(diff_lines(result.diffs))
        for attachment in result.attachments:
            self.line(f"  {attachment_text(attachment)}")

    def notice(self, notice: ChatNotice) -> None:
        """Print a notice of the service's, and how many tokens it makes void."""
        if notice.message:
            self.line(one_line(notice.message))
        if notice.discard_tokens == 1:
            self.line("the last token above is void and will be sent again")
        elif notice.discard_tokens:
            self.line(
                f"the last {notice.discard_tokens} tokens above are void and will be sent again"
            )

    def sheet(self, ask: AskEvent) -> Sheet:
        """Return the layout of a whole ask, with the tool call that it is about."""
        return Sheet(ask, self._calls.get(ask.call_id), self._console.encoding)

    def ask(self, ask: AskEvent) -> None:
        """Print a whole ask, however long it is."""
        terminal = self._console.is_terminal
        self.sheet_lines(self.sheet(ask).lines(self._console.width - 1 if terminal else UNWRAPPED))

    def sheet_lines(self, lines: Iterable[Line]) -> None:
        """Print lines of an ask."""
        for line in lines:
            self.line(line.text, ASK if line.heading else PLAIN)

    def ask_closed(self, closed: AskClosed) -> None:
        """Print that an ask was answered elsewhere, or needs no answer any more."""
        answers = ", ".join(one_line(answer) for answer in closed.answers)
        self.line(
            f"  answered elsewhere: {answers}" if answers else "  this no longer needs an answer"
        )

    def end(self) -> None:
        """End the reply."""
        self._start_line()
        self._calls.clear()


def _name(call: ToolCallEvent) -> str:
    return one_line(call.name, 60)


class Screen(View):
    """Shows the reply and everything about it on one terminal."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, now)
        self._column_0 = True
        self._reasoned = False

    def token(self, text: str) -> None:
        """Print a part of the reply, starting a new line after reasoning."""
        if self._reasoned:
            self._start_line()
        self._stream(text, PLAIN)

    def reasoning(self, text: str) -> None:
        """Print reasoning dimmed, on lines of its own."""
        if not self._reasoned:
            self._start_line()
        self._stream(text, DIM)
        self._reasoned = True

    def _stream(self, text: str, style: Style) -> None:
        if text:
            self._write(text, style)
            self._column_0 = text.endswith("\n")

    def gap(self) -> None:
        """Print an empty line between one message and the next."""
        self.line("")

    def _start_line(self) -> None:
        if not self._column_0:
            self._write("\n", PLAIN)
        self._column_0 = True
        self._reasoned = False

    def break_line(self) -> None:
        """Move to the start of a line, for a prompt."""
        self._start_line()

    def usage(self, usage: UsageEvent) -> None:
        """Print what the conversation has used, as far as it is known."""
        if text := used(usage):
            self.line(text)

    def table(self, rows: Sequence[tuple[str, ...]]) -> None:
        """Print rows in columns; the last column is cut to the width of the screen."""
        for line in table(rows, self._console.width - 1):
            self.line(line, PLAIN)

    def message(self, text: str, attachments: Iterable[Attachment] = ()) -> None:
        """Print the beginning of a message, and what was attached to it."""
        for line in message_lines(text, attachments, MESSAGE_LINES) or [""]:
            self.line(f"> {line}")

    def recall(self, entries: Iterable[HistoryEntry]) -> None:
        """Print the last entries of a conversation that is being continued."""
        for entry in entries:
            match entry.WhichOneof("entry"):
                case "user_text":
                    said = last_lines(entry.user_text, RECALLED_LINES) if entry.user_text else []
                    for line in [*said, *map(attachment_text, entry.attachments)]:
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
    """Writes only the reply to standard output, and everything else to standard error.

    The output ends with exactly one newline. Raises OutputFailed if it cannot be written.
    """

    def __init__(self, out: TextIO, console: Console) -> None:
        super().__init__(console)
        self._out = out
        # A file or a pipe receives the reply unchanged.
        self._terminal = out.isatty()
        self._said = False
        self._amid_line = False
        self._newlines = ""

    def token(self, text: str) -> None:
        """Write a part of the reply; hold back newlines at its end until more text follows."""
        text = self._newlines + (tame(text) if self._terminal else text)
        said = text.rstrip("\n")
        self._newlines = text[len(said) :]
        if said:
            self._said = self._amid_line = True
            self._put(said)

    def reasoning(self, text: str) -> None:
        """Ignore reasoning, which is not part of the reply."""

    def end(self) -> None:
        """End the reply with one newline, unless it was empty."""
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
        # If both go to one terminal, break the line there, but not in the reply itself.
        if self._amid_line and self._terminal and self._console.is_terminal:
            self._write("\n", PLAIN)
        self._amid_line = False

    def _write(self, text: str, style: Style) -> None:
        # If standard error cannot be written, the reply must still be.
        with contextlib.suppress(OSError):
            super()._write(text, style)


class _Console(Console):
    """A console that makes terminal control characters visible in all text."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(tame(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        # rich would redirect standard output to the null device and exit, even if it is standard
        # error that is closed.
        self.quiet = True


def make_console(file: TextIO | None) -> Console:
    """Return a console without markup, which accepts every character and prints text safely.

    file: None, which Python sets for a closed standard stream, discards what is printed.
    """
    if isinstance(file, io.TextIOWrapper):
        file.reconfigure(errors="replace")
    return _Console(file=file or io.StringIO(), highlight=False, markup=False, emoji=False)


def standard_output() -> TextIO:
    """Return standard output, set to UTF-8 unless it is a terminal.

    A terminal keeps its encoding; characters that it lacks are replaced.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="replace")
        else:
            sys.stdout.reconfigure(encoding="utf-8")
    return sys.stdout
