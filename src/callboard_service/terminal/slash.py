"""Parses the lines of a chat: messages, and commands, which begin with "/". No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from callboard_service.terminal.errors import BadCommand
from callboard_service.terminal.text import one_line


@dataclass(frozen=True, slots=True)
class Message:
    """A message to the model."""

    text: str


@dataclass(frozen=True, slots=True)
class Slash:
    """A line "/name rest"."""

    name: str
    rest: str


@dataclass(frozen=True, slots=True)
class Usage:
    """A form of a command of ours. feature: what a service must have for it; empty: nothing."""

    form: str
    about: str
    feature: str = ""

    @property
    def name(self) -> str:
        """The command's name, without the slash."""
        return self.form.split()[0][1:]


USAGES: Final = (
    Usage("/help", "this list"),
    Usage("/queue", "the messages that wait, with their places", "follow"),
    Usage("/queue drop N", "drop the message at place N", "follow"),
    Usage("/queue edit N TEXT", "change its text", "follow"),
    Usage("/queue move N M", "move it to place M", "follow"),
    Usage("/steer TEXT", "hand a message to the running reply", "steer"),
    Usage("/interrupt TEXT", "stop the running reply, and send this next", "follow"),
    Usage("/fork [N]", "go on in a copy, without your last N messages", "fork"),
    Usage("/edit [TEXT]", "change your last message, in a copy", "fork"),
    Usage("/retry", "have your last message answered again", "follow"),
    Usage("/rename TITLE", "rename the conversation", "follow"),
    Usage("/archive", "leave the conversation out of the list", "follow"),
    Usage("/model [NAME]", "the models; with a name or number, choose one", "options"),
    Usage("/options", "all that can be chosen here", "options"),
    Usage("/set OPTION [VALUE]", "the values of an option; choose one", "options"),
    Usage("/attach [PATH]", "attach a file to the next message; list them", "uploads"),
    Usage("/attach drop N", "leave out the file with number N", "uploads"),
)
"""The commands of the chat itself."""

ESCAPED: Final = ("//TEXT", 'send a text that begins with "/"')

NAMES: Final = tuple(dict.fromkeys(usage.name for usage in USAGES))


def read_line(line: str) -> Message | Slash:
    """Return what a line means. "//" begins a message that begins with "/"."""
    if line.startswith("//"):
        return Message(line[1:])
    if not line.startswith("/"):
        return Message(line)
    name, _, rest = line[1:].partition(" ")
    head, newline, more = name.partition("\n")
    if newline:
        name, rest = head, f"{more} {rest}"
    return Slash(name, rest.strip())


def feature_of(name: str) -> str:
    """Return the feature that a command of ours needs; empty if none."""
    return next(usage.feature for usage in USAGES if usage.name == name)


def forms_of(name: str) -> str:
    """Return all forms of a command of ours, on one line."""
    return ", ".join(usage.form for usage in USAGES if usage.name == name)


def bad_form(name: str) -> BadCommand:
    """Return the error for a command of ours in another form than its own."""
    return BadCommand(f"usage: {forms_of(name)}")


def number(name: str, typed: str, most: int, what: str) -> int:
    """Return a number from 1 to `most`. Raises BadCommand.

    what: what is numbered, in the plural: "queued messages".
    """
    if not (typed.isascii() and typed.isdecimal()):
        raise bad_form(name)
    value = int(typed[:9])
    if not 1 <= value <= most:
        if most == 1:
            raise BadCommand("there is only one")
        raise BadCommand(f"there are only {most} {what}" if most else f"there are no {what}")
    return value


def choose(typed: str, values: Sequence[str], names: Sequence[str], what: str) -> int:
    """Return the position of the choice that is meant. Raises BadCommand.

    It is selected by its value, its name, its number from 1, or an unambiguous beginning of a value
    or a name. values, names: of the same length. what: "model".
    """
    if typed in values:
        return values.index(typed)
    folded = typed.casefold()
    both = [(v.casefold(), n.casefold()) for v, n in zip(values, names, strict=True)]
    if same := [n for n, pair in enumerate(both) if folded in pair]:
        return same[0]
    if typed.isascii() and typed.isdecimal() and 1 <= int(typed[:9]) <= len(values):
        return int(typed[:9]) - 1
    begun = [n for n, pair in enumerate(both) if any(text.startswith(folded) for text in pair)]
    if len(begun) == 1 and folded:
        return begun[0]
    if begun:
        several = ", ".join(one_line(values[n], 40) for n in begun[:6])
        raise BadCommand(f"{one_line(typed, 40)} may mean {several}{', …' * (len(begun) > 6)}")
    raise BadCommand(f"there is no {what} {one_line(typed, 40)}")
