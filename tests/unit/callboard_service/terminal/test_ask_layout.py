"""The layout of an ask on a terminal: spelled.py and ask_layout.py."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from callboard.v1.chat_pb2 import AskEvent, AskOption, Location, ToolCallEvent
from callboard_service.terminal.ask_layout import NARROWEST, UNWRAPPED, Sheet
from callboard_service.terminal.spelled import spell_out

NASTY = (
    "\0\x1b[2J\x7f\x9b\r\u00ad\u061c\u200b\u200d\u202e"
    "\u2028\u2066\u3000\u3164\ufe0f\ufeff\U000e0041"
)


def shown(sheet: Sheet, width: int = UNWRAPPED) -> list[str]:
    return [line.text for line in sheet.lines(width)]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\x1b[2Jb\x00\x7f", ["a␛[2Jb␀␡"]),
        ("one\r\ntwo\rthree\n", ["one", "two␍three", ""]),
        ("a\u200bb\u202ec\x9b", ["a<U+200B>b<U+202E>c<U+009B>"]),
        ("\u00a0\u2028\u3000", ["<U+00A0><U+2028><U+3000>"]),
        ("\u2800\u3164\ufe0f", ["<U+2800><U+3164><U+FE0F>"]),
        ("\U000e0041\ue000\ufdd0", ["<U+E0041><U+E000><U+FDD0>"]),
        ("Grüße e\u0301 日本 🎭", ["Grüße e\u0301 日本 🎭"]),
        ("e\u0301\u0301\u0301\u0301", ["e\u0301\u0301<U+0301><U+0301>"]),
        ("\tx" + " " * 32 + "y", ["    x" + " " * 32 + "y"]),
        ("x" + " " * 33 + "y", ["x<33 spaces>y"]),
        ("x" + " \t" * 10 + "y", ["x<10 spaces and 10 tabs>y"]),
        ("a\n\n\nb\n\n \n\nc", ["a", "", "", "b", "<3 blank lines>", "c"]),
        ("a" + "\n" * 60 + "b", ["a", "<59 blank lines>", "b"]),
    ],
)  # fmt: skip
def test_nothing_in_a_text_hides_or_steers(text: str, lines: list[str]) -> None:
    assert spell_out(text) == lines


def test_what_the_terminal_cannot_encode_is_spelled_out_and_not_a_question_mark() -> None:
    assert spell_out("ab\x1b p\u0430ypal", "ascii") == ["ab<U+001B> p<U+0430>ypal"]


@given(st.text(max_size=200))
def test_every_spelled_character_has_ink_or_is_a_space(text: str) -> None:
    for line in spell_out(text):
        for character in line:
            assert character == " " or unicodedata.category(character)[0] not in "CZ"


def test_an_ask_says_title_tool_call_detail_and_options() -> None:
    call = ToolCallEvent(call_id="c", name="bash", title="List")
    call.arguments["command"] = "ls\ncd \\n\nrm \u200b"
    call.arguments["n"] = 1
    call.locations.append(Location(path="/etc/passwd", line=3))
    ask = AskEvent(
        call_id="c",
        title="May it?\nReally?",
        detail="rm x\n\n  1. reject",
        options=["once", "reject\n  3. once"],
        choices=[AskOption(value="once", name="Only now")],
    )
    assert shown(Sheet(ask, call)) == [
        "? May it?",
        "  | Really?",
        "  tool: bash",
        "  | List",
        "  | {",
        '  |   "command": "ls\\n',
        "  : cd \\\\n\\n",
        '  : rm <U+200B>",',
        '  |   "n": 1',
        "  | }",
        "  at: /etc/passwd:3",
        "  | rm x",
        "  | ",
        "  |   1. reject",
        "  1. once (Only now)",
        "  2. reject",
        "     |   3. once",
    ]


def test_an_ask_without_words_is_still_a_question() -> None:
    assert shown(Sheet(AskEvent())) == ["? a question"]


def test_a_tool_call_that_was_not_announced_is_said_to_be_missing() -> None:
    permission = AskEvent(title="May it?", call_id="c", kind=AskEvent.KIND_PERMISSION)
    lines = shown(Sheet(permission))
    assert lines == ["? May it?", "  the details of this tool call were not sent"]


def test_a_question_needs_no_announced_tool_call() -> None:
    question = AskEvent(title="Which?", call_id="c", kind=AskEvent.KIND_QUESTION)
    assert shown(Sheet(question)) == ["? Which?"]


TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from(" \nab日" + NASTY), max_size=300)


@given(TEXT, TEXT, st.lists(TEXT, max_size=3), st.integers(1, 100), st.integers(-1, 12))
def test_pages_hold_every_line_once_and_none_is_wider_than_the_terminal(
    title: str, detail: str, options: list[str], width: int, height: int
) -> None:
    sheet = Sheet(AskEvent(title=title, detail=detail, options=options))
    lines = sheet.lines(width)
    assert all(cell_len(line.text) <= max(width, NARROWEST) for line in lines)
    paged, start, number = [], 0, 1
    while True:
        page = sheet.page(start, width, height, number=number)
        assert 1 <= len(page.lines) <= max(height, 1)
        assert (page.number, page.end is None) == (number, page.of == number)
        paged += page.lines
        if page.end is None:
            break
        start, number = page.end, number + 1
    assert paged == lines


@given(TEXT, st.integers(20, 90))
def test_wrapping_leaves_nothing_out(detail: str, width: int) -> None:
    sheet = Sheet(AskEvent(title="t", detail=detail))
    joined = ""
    for text in shown(sheet, width):
        joined += text[4:] if text.startswith("  : ") else "\n" + text
    assert joined == "\n" + "\n".join(shown(sheet))


def test_a_page_begins_where_the_text_of_a_narrower_one_did() -> None:
    sheet = Sheet(AskEvent(title="t", detail="\n".join(f"{n} " + "x" * 60 for n in range(20))))
    wide = sheet.page(0, 80, 5)
    assert wide.end is not None
    narrow = sheet.page(wide.end, 40, 5, number=2)
    assert narrow.lines[0].text.startswith("  | 4 x")
    assert narrow.of > wide.of


def test_what_would_push_text_off_the_screen_takes_one_line() -> None:
    detail = "first" + "\n" * 100_000 + "x" + " " * 100_000 + "last"
    assert shown(Sheet(AskEvent(detail=detail)), 80)[1:] == [
        "  | first",
        "  | <99999 blank lines>",
        "  | x<100000 spaces>last",
    ]
