"""Parses what was typed as the answer to an ask."""

from dataclasses import dataclass, field

from callboard.v1.chat_pb2 import AskEvent
from callboard_service.terminal.errors import NotAnOption
from callboard_service.terminal.text import one_line


@dataclass(frozen=True, slots=True)
class Answered:
    """The answers to an ask; none means declined.

    message: a note to the backend beside the answer to a permission, such as why it is refused.
    """

    answers: list[str] = field(default_factory=list)
    message: str = ""


def read_answers(ask: AskEvent, typed: str) -> Answered:
    """Return the answers that were typed; an empty line declines. Raises NotAnOption.

    An option is selected by its number, its text, or an unambiguous beginning of its text. If
    several are allowed, they are separated by commas, or numbers by spaces. Any other text answers
    a question as it is, except a number that is not an option's. A permission accepts only its
    options, optionally followed by a colon and a note to the backend.
    """
    typed = typed.strip()
    if not typed:
        return Answered()
    if not ask.options:
        return Answered([typed])
    if ask.kind == AskEvent.KIND_PERMISSION:
        return _read_permission(list(ask.options), typed)
    return Answered(_read_question(list(ask.options), typed, multiple=ask.multiple))


def _read_permission(options: list[str], typed: str) -> Answered:
    whole = _option(options, typed)
    if whole is not None:
        return Answered([whole])
    named, colon, word = typed.partition(":")
    chosen = _option(options, named.strip()) if colon else None
    if chosen is None:
        raise _none_of(options, typed)
    return Answered([chosen], word.strip())


def _read_question(options: list[str], typed: str, *, multiple: bool) -> list[str]:
    chosen: dict[str, None] = {}
    for part in _parts(options, typed) if multiple else [typed]:
        option = _option(options, part)
        if option is not None:
            chosen[option] = None
        elif part.isdecimal():
            raise _none_of(options, part)
        else:
            return [typed]
    return list(chosen)


def _parts(options: list[str], typed: str) -> list[str]:
    if typed in options:
        return [typed]
    if all(part.isdecimal() for part in typed.split()):
        return typed.split()
    return [part.strip() for part in typed.split(",") if part.strip()] or [typed]


def _option(options: list[str], typed: str) -> str | None:
    if typed.isdecimal() and 1 <= int(typed) <= len(options):
        return options[int(typed) - 1]
    folded = typed.casefold()
    same = [option for option in options if option.strip().casefold() == folded]
    if same:
        return same[0]
    begun = [option for option in options if option.strip().casefold().startswith(folded)]
    return begun[0] if len(begun) == 1 and folded else None


def _none_of(options: list[str], typed: str) -> NotAnOption:
    return NotAnOption(
        f"{one_line(typed, 40)} is not one of the answers: "
        f"type a number from 1 to {len(options)}, or the text of an answer"
    )
