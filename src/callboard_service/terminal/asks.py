"""What was typed as the answer to an ask."""

from callboard.v1.chat_pb2 import AskEvent
from callboard_service.terminal.errors import NotAnOption
from callboard_service.terminal.text import one_line


def read_answers(ask: AskEvent, typed: str) -> list[str]:
    """The answers that are meant; none: declined. Raises NotAnOption.

    An option is named by its number, its text, or the beginning of it if no other begins so.
    Several, where they may be, are separated by commas; numbers by spaces too.
    """
    typed = typed.strip()
    if not typed:
        return []
    if not ask.options:
        return [typed]
    options = list(ask.options)
    if not ask.multiple:
        return [_option(options, typed)]
    chosen = [_option(options, part) for part in _parts(options, typed)]
    return list(dict.fromkeys(chosen))


def _parts(options: list[str], typed: str) -> list[str]:
    if typed in options:
        return [typed]
    if all(part.isdecimal() for part in typed.split()):
        return typed.split()
    return [part.strip() for part in typed.split(",") if part.strip()]


def _option(options: list[str], typed: str) -> str:
    if typed.isdecimal() and 1 <= int(typed) <= len(options):
        return options[int(typed) - 1]
    folded = typed.casefold()
    same = [option for option in options if option.strip().casefold() == folded]
    if same:
        return same[0]
    begun = [option for option in options if option.strip().casefold().startswith(folded)]
    if len(begun) == 1:
        return begun[0]
    raise NotAnOption(
        f"{one_line(typed, 40)} is not among the answers: "
        f"a number from 1 to {len(options)}, or one of the texts"
    )
