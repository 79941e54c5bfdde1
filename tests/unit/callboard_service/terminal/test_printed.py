"""What of a text was printed, when it comes again: printed.py."""

from random import Random

import pytest

from callboard_service.terminal.printed import PrintedText


def added(text: PrintedText, *parts: str) -> str:
    """Add these parts, and return what is to be printed; none of it may be all anew."""
    printed = [text.add(part) for part in parts]
    assert not any(anew for _, anew in printed)
    return "".join(new for new, _ in printed)


def test_what_was_printed_is_not_printed_again() -> None:
    """Of a text that comes again in other parts, only what is new is printed."""
    text = PrintedText()
    assert added(text, "one ", "two ") == "one two "
    text.begin_again()
    assert text.missing == 8
    assert added(text, "one t") == ""
    assert added(text, "wo three") == "three"
    assert text.missing == 0
    assert added(text, " four") == " four"


def test_a_text_that_differs_is_printed_anew() -> None:
    """A text that differs from what was printed is returned whole, and then goes on."""
    text = PrintedText()
    added(text, "one two")
    text.begin_again()
    assert added(text, "one ") == ""
    assert text.add("three") == ("one three", True)
    assert added(text, " four") == " four"
    text.begin_again()
    assert added(text, "one three four five") == " five"


def test_what_does_not_come_again_is_counted() -> None:
    """After a text that ends sooner than before, the missing characters are known."""
    text = PrintedText()
    added(text, "one two")
    text.begin_again()
    added(text, "one")
    assert text.missing == 4


def test_void_text_is_cut_off() -> None:
    """Bytes that a discard makes void are not compared, whenever the discard comes."""
    text = PrintedText()
    added(text, "ü one")
    text.cut(2)
    assert added(text, "x") == "x"
    text.begin_again()
    assert added(text, "ü") == ""
    text.cut(2)
    assert added(text, "x", "y") == "y"


@pytest.mark.parametrize("seed", range(100))
def test_a_text_in_any_parts_is_printed_once(seed: int) -> None:
    """However often a growing text comes again, in whatever parts, it is printed once."""
    print(f"seed {seed}")  # noqa: T201
    random = Random(seed)
    whole = "".join(random.choice("aü\n") for _ in range(60))
    text, printed = PrintedText(), ""
    for end in [*sorted(random.choices(range(61), k=4)), 60]:
        text.begin_again()
        at = 0
        while at < end:
            size = random.randint(1, end - at)
            printed += added(text, whole[at : at + size])
            at += size
    assert printed == whole
