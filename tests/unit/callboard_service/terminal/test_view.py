"""What goes to the screen, to a pipe and to standard error: view.py."""

import errno
import io
from typing import Final

import pytest
from rich.console import Console

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    Attachment,
    ChatError,
    ChatNotice,
    FileDiff,
    HistoryEntry,
    PlanEntry,
    PlanEvent,
    SteerEvent,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    UsageEvent,
)
from callboard_service.terminal.errors import OutputFailed
from callboard_service.terminal.view import Pipe, Screen, View, make_console

NASTY: Final = "\x1b]0;pwned\x07\x9b2J\r"


class Terminal(io.StringIO):
    """A text stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


class BrokenPipe(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError


class FullDisk(io.StringIO):
    """A file on a full disk."""

    tried = 0

    def write(self, _text: str) -> int:
        self.tried += 1
        raise OSError(errno.ENOSPC, "no space")


def screen() -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    return Screen(make_console(out)), out


def pipe(out: io.StringIO) -> tuple[Pipe, io.StringIO]:
    errors = io.StringIO()
    return Pipe(out, make_console(errors)), errors


def test_the_reply_streams_and_lines_about_it_stand_alone() -> None:
    view, out = screen()
    view.reasoning("hm, ")
    view.reasoning("so")
    view.token("It")
    view.token(" is\tso")
    view.notice(ChatNotice(message="trying\nagain", discard_tokens=2))
    view.token("It was")
    view.end()
    view.end()
    assert out.getvalue().splitlines() == [
        "hm, so",
        "It is\tso",
        "trying again",
        "the last 2 tokens above are void and will be sent again",
        "It was",
    ]
    view.notice(ChatNotice(discard_tokens=1))
    assert out.getvalue().endswith("the last token above is void and will be sent again\n")


def test_lines_are_not_wrapped_nor_marked_up() -> None:
    out = io.StringIO()
    view = Screen(Console(file=out, width=20, force_terminal=False))
    text = "[bold]a long line[/bold] :smile: " * 5
    view.token(text)
    assert out.getvalue() == text


def test_tools_are_shown_shortened_and_errors_marked() -> None:
    view, out = screen()
    call = ToolCallEvent(call_id="1", name="read")
    call.arguments["path"] = "x"
    view.tool_call(call)
    view.tool_result(ToolResultEvent(call_id="1", output="no such file", is_error=True))
    view.tool_result(ToolResultEvent(call_id="2", output="1\n2\n3\n4\n5\n6"))
    assert out.getvalue().splitlines() == [
        'tool read {"path": "x"}',
        "  tool read failed",
        "  no such file",
        "  1",
        "  2",
        "  3",
        "  4",
        "  … 2 more lines",
    ]


def test_messages_say_what_was_attached_and_what_was_handed_over() -> None:
    view, out = screen()
    image = Attachment(name="a.png", media_type="image/png", size=12_300)
    view.message("look\nhere", [image])
    view.message("", [image])
    view.steered(SteerEvent(text="and\nthere", attachments=[image]))
    view.recall([HistoryEntry(user_text="look", attachments=[image])])
    assert out.getvalue().splitlines() == [
        "> look", "> here", "> [image a.png, 12 KiB]",
        "> [image a.png, 12 KiB]",
        "> steered: and", "> there", "> [image a.png, 12 KiB]",
        "> look", "> [image a.png, 12 KiB]",
    ]  # fmt: skip


def test_a_tool_result_has_its_changes_and_files() -> None:
    view, out = screen()
    result = ToolResultEvent(diffs=[FileDiff(path="x", patch="@@ -1 +1 @@\n-a\n+b")])
    result.attachments.add(name="plot.png", media_type="image/png", size=9)
    view.tool_result(result)
    assert out.getvalue().splitlines() == [
        "  x (+1 -1)", "  @@ -1 +1 @@", "  -a", "  +b", "  [image plot.png, 9 B]",
    ]  # fmt: skip


def test_an_ask_shows_title_detail_and_numbered_options() -> None:
    view, out = screen()
    detail = "\n".join(["a" * 300, *"x" * 30, "rm y"])
    view.ask(AskEvent(title="May it?", detail=detail, options=["once", "no" * 200]))
    view.ask_closed(AskClosed(answers=["once"]))
    view.ask_closed(AskClosed())
    assert out.getvalue().splitlines() == [
        "? May it?",
        "  | " + "a" * 300,
        *["  | x"] * 30,
        "  | rm y",
        "  1. once",
        "  2. " + "no" * 200,
        "  answered elsewhere: once",
        "  this no longer needs an answer",
    ]


def test_an_ask_shows_the_arguments_of_its_tool_call_until_that_has_its_result() -> None:
    view, out = screen()
    call = ToolCallEvent(call_id="1", name="bash")
    call.arguments["command"] = "a" * 300 + "; rm x"
    view.tool_call(call)
    assert "rm x" not in out.getvalue()
    view.ask(AskEvent(title="May it?", call_id="1"))
    assert "rm x" in out.getvalue()
    view.tool_result(ToolResultEvent(call_id="1"))
    view.ask(AskEvent(title="May it?", call_id="1"))
    assert out.getvalue().count("rm x") == 1


def test_an_ask_on_a_terminal_is_wrapped_to_its_width() -> None:
    out = Terminal()
    view = Screen(Console(file=out, width=40, color_system=None))
    view.ask(AskEvent(title="May it?", detail="a" * 50))
    assert out.getvalue().splitlines() == ["? May it?", "  | " + "a" * 35, "  : " + "a" * 15]


def say_everything(view: View) -> None:
    """Pass control characters to every method of the view that shows text."""
    view.token(NASTY)
    view.reasoning(NASTY)
    call = ToolCallEvent(call_id="1", name=NASTY)
    call.arguments[NASTY] = NASTY
    view.tool_call(call)
    attached = Attachment(name=NASTY, media_type=NASTY)
    result = ToolResultEvent(call_id="1", output=NASTY, is_error=True, attachments=[attached])
    result.diffs.add(path=NASTY, patch=f"@@ -1 +1 @@\n-{NASTY}\n+{NASTY}\n{NASTY}")
    view.tool_result(result)
    view.tool_progress(ToolProgressEvent(output=NASTY))
    view.plan(PlanEvent(entries=[PlanEntry(text=NASTY)]))
    view.steered(SteerEvent(text=NASTY, attachments=[attached]))
    view.usage(UsageEvent(context_used=9, context_size=9, cost=1, currency=NASTY))
    view.notice(ChatNotice(message=NASTY))
    view.ask(AskEvent(title=NASTY, detail=NASTY, options=[NASTY]))
    view.ask_closed(AskClosed(answers=[NASTY]))
    view.error(ChatError(code=NASTY, message=NASTY))
    if isinstance(view, Screen):
        view.message(NASTY, [attached])
        view.recall(
            [
                HistoryEntry(user_text=NASTY, attachments=[attached]),
                HistoryEntry(assistant_text=NASTY),
                HistoryEntry(tool_call=call),
                HistoryEntry(tool_result=ToolResultEvent(output=NASTY)),
                HistoryEntry(error=ChatError(message=NASTY)),
                HistoryEntry(),
            ]
        )
    view.end()


def test_nothing_that_steers_reaches_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")  # no colors: they use the same control characters
    whole, out, errors = Terminal(), Terminal(), Terminal()
    say_everything(Screen(make_console(whole)))
    say_everything(Pipe(out, make_console(errors)))
    for shown in (whole.getvalue(), out.getvalue(), errors.getvalue()):
        assert "pwned" in shown
        assert not set("\x1b\x07\x9b\r") & set(shown)


def test_a_pipe_gets_exactly_the_reply_with_one_newline() -> None:
    out = io.StringIO()
    view, errors = pipe(out)
    for text in ("\n  a\x1b", "\n", "\n", "b", "", "\n\n"):
        view.token(text)
        view.reasoning("not a part of it")
        view.notice(ChatNotice(message="a word"))
    view.end()
    assert out.getvalue() == "\n  a\x1b\n\nb\n"
    assert errors.getvalue() == "a word\n" * 6


def test_no_reply_is_no_newline() -> None:
    out = io.StringIO()
    view, _ = pipe(out)
    view.token("\n")
    view.end()
    assert out.getvalue() == ""


def test_reply_and_notices_on_one_terminal_do_not_share_a_line() -> None:
    out, errors = Terminal(), Terminal()
    view = Pipe(out, Console(file=errors, color_system=None))
    view.token("so far")
    view.notice(ChatNotice(message="a word"))
    view.notice(ChatNotice(message="and another"))
    assert errors.getvalue() == "\na word\nand another\n"
    view.token("\n")
    view.end()
    assert out.getvalue() == "so far\n"


def test_a_pipe_without_a_reader_is_reported() -> None:
    view, _ = pipe(BrokenPipe())
    with pytest.raises(OutputFailed) as failed:
        view.token("x")
    assert failed.value.closed


def test_standard_error_that_nobody_reads_costs_nothing() -> None:
    out = io.StringIO()
    view = Pipe(out, make_console(BrokenPipe()))
    view.notice(ChatNotice(message="a word"))
    view.token("x")
    view.end()
    assert out.getvalue() == "x\n"


def test_standard_error_on_a_full_disk_costs_nothing() -> None:
    out, disk = io.StringIO(), FullDisk()
    view = Pipe(out, make_console(disk))
    view.notice(ChatNotice(message="a word"))
    view.token("x")
    view.end()
    assert disk.tried
    assert out.getvalue() == "x\n"


def test_no_character_makes_a_console_fail() -> None:
    raw = io.BytesIO()
    view = Screen(make_console(io.TextIOWrapper(raw, encoding="ascii")))
    view.token("🎭")
    assert raw.getvalue() == b"?"
    make_console(None).print("nowhere")
