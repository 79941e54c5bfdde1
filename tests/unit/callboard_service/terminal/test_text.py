"""Foreign text on a terminal, and typed answers to asks: text.py and ask_answers.py."""

import pytest
from google.protobuf.struct_pb2 import Struct

from callboard.v1.chat_pb2 import AskEvent, ChatCompleted, ChatError, StopReason
from callboard_service.terminal.ask_answers import Answered, read_answers
from callboard_service.terminal.errors import NotAnOption
from callboard_service.terminal.text import (
    clean_input,
    compact,
    error_line,
    first_lines,
    last_lines,
    one_line,
    tame,
    why_stopped,
)


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("plain\n\ttext 🎭 Grüße e\u0301 👩\u200d🚀", "plain\n\ttext 🎭 Grüße e\u0301 👩\u200d🚀"),
        ("\x1b[31mred\x1b]0;title\x07", "␛[31mred␛]0;title␇"),
        ("\x9b2J\x7f\x00\x08\x0b\x0c", "\ufffd2J␡␀␈␋␌"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("safe\u202egnp.exe\u2066", "safe\ufffdgnp.exe\ufffd"),
    ],
)
def test_what_steers_a_terminal_is_made_visible(foreign: str, shown: str) -> None:
    assert tame(foreign) == shown


def test_no_character_that_steers_is_left() -> None:
    everything = "".join(map(chr, range(0x3000)))
    left = {character for character in tame(everything) if ord(character) in range(0xA0)}
    assert left == {"\t", "\n", *map(chr, range(0x20, 0x7F))}


def test_one_line_is_one_line_and_cut() -> None:
    assert one_line(" a\n\tb\x1b ") == "a b␛"
    assert one_line("x" * 300, 10) == "x" * 9 + "…"


def test_long_outputs_are_shortened_and_say_so() -> None:
    text = "\n".join(f"line {number}" for number in range(6)) + "\n"
    assert first_lines(text, 4) == ["line 0", "line 1", "line 2", "line 3", "… 2 more lines"]
    assert first_lines(text, 5)[-1] == "… 1 more line"
    assert first_lines("short", 4) == ["short"]
    assert first_lines("y" * 30, 4, limit=5) == ["yyyy…"]
    assert last_lines(text, 2) == ["…", "line 4", "line 5"]
    assert last_lines("short\n", 2) == ["short"]


def test_arguments_are_compact_json() -> None:
    arguments = Struct()
    arguments.update({"path": "a\x1b", "n": [1, 2.5, {"deep": None}], "on": True})
    assert compact(arguments) == r'{"n": [1, 2.5, {"deep": null}], "on": true, "path": "a\u001b"}'
    assert compact(Struct()) == ""


def test_arguments_may_hold_what_json_cannot() -> None:
    arguments = Struct()
    arguments["n"] = float("inf")
    assert compact(arguments) == '{"n": Infinity}'


def test_an_error_says_whether_trying_again_may_help() -> None:
    error = ChatError(code="UNAVAILABLE", message="it is\nbusy\x1b", retryable=True)
    assert error_line(error) == "UNAVAILABLE: it is busy␛ (trying again may help)"
    error.retry_after_ms = 1500
    assert error_line(error).endswith("(trying again may help, in 1.5 s)")
    error.retryable = False
    assert error_line(error).endswith("(trying again will not help)")
    error.message = f"the proxy says: {'x' * 500} the cause"
    assert " the cause (" in error_line(error)
    assert error_line(ChatError(code="CANCELLED", message="deleted")) == "CANCELLED: deleted"
    assert error_line(ChatError()).startswith("UNKNOWN: no reason given")


def test_bytes_that_are_no_text_can_be_sent() -> None:
    typed = b"gr\xfc\xdfe".decode("utf-8", "surrogateescape")
    assert clean_input(typed) == "gr\ufffd\ufffde"
    assert clean_input("Grüße") == "Grüße"


@pytest.mark.parametrize(
    ("typed", "multiple", "answers"),
    [
        ("", False, []),
        ("  ", True, []),
        ("2", False, ["always"]),
        (" Reject ", False, ["reject"]),
        ("al", False, ["always"]),
        ("1,3", True, ["once", "reject"]),
        ("3 1 3", True, ["reject", "once"]),
        ("once, re", True, ["once", "reject"]),
        ("only this, once", True, ["only this, once"]),
    ],
)
def test_an_ask_is_answered_by_number_or_text(
    typed: str, multiple: bool, answers: list[str]
) -> None:
    options = ["once", "always", "reject", "only this, once"]
    for kind in (AskEvent.KIND_QUESTION, *([] if multiple else [AskEvent.KIND_PERMISSION])):
        ask = AskEvent(kind=kind, options=options, multiple=multiple)
        assert read_answers(ask, typed) == Answered(answers)


@pytest.mark.parametrize("typed", ["0", "4", "o", "never", "1,2", "-1", "²", ":", "never: this"])
def test_a_permission_is_one_of_its_options(typed: str) -> None:
    ask = AskEvent(kind=AskEvent.KIND_PERMISSION, options=["once", "only", "reject"])
    with pytest.raises(NotAnOption, match="a number from 1 to 3"):
        read_answers(ask, typed)


@pytest.mark.parametrize("typed", ["3: use printf", "reject:use printf", " rej : use printf "])
def test_a_word_may_follow_a_permission(typed: str) -> None:
    options = ["once", "always", "reject"]
    ask = AskEvent(kind=AskEvent.KIND_PERMISSION, options=options)
    assert read_answers(ask, typed) == Answered(["reject"], "use printf")


@pytest.mark.parametrize("typed", ["0", "4", "1 4", "1, 9"])
def test_a_number_that_is_no_option_is_refused(typed: str) -> None:
    ask = AskEvent(kind=AskEvent.KIND_QUESTION, options=["yes", "no", "maybe"], multiple=True)
    with pytest.raises(NotAnOption, match="a number from 1 to 3"):
        read_answers(ask, typed)


@pytest.mark.parametrize("multiple", [True, False])
@pytest.mark.parametrize("typed", ["neither, nor both", "m, or so", ",", "-1"])
def test_a_question_may_be_answered_in_ones_own_words(typed: str, multiple: bool) -> None:
    ask = AskEvent(kind=AskEvent.KIND_QUESTION, options=["yes", "no"], multiple=multiple)
    assert read_answers(ask, typed) == Answered([typed])


def test_without_options_the_text_is_the_answer() -> None:
    assert read_answers(AskEvent(), " 2, of them ") == Answered(["2, of them"])


@pytest.mark.parametrize(
    ("completed", "said"),
    [
        (ChatCompleted(stop_reason=StopReason.STOP_REASON_END_TURN), ""),
        (ChatCompleted(), ""),
        (
            ChatCompleted(stop_reason=StopReason.STOP_REASON_MAX_TOKENS),
            "the reply is cut off: it reached the token limit",
        ),
        (
            ChatCompleted(stop_reason=StopReason.STOP_REASON_CONTEXT_FULL),
            "the reply is cut off: the model's context is full",
        ),
        (ChatCompleted(stop_detail="a\nquota\x1b"), "the reply has ended: a quota␛"),
    ],
)
def test_a_reply_that_is_not_simply_complete_says_so(completed: ChatCompleted, said: str) -> None:
    assert why_stopped(completed) == said
