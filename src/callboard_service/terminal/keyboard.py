"""Controls the keyboard while a reply streams.

Ctrl-C and Ctrl-D act at once. Other keys are not echoed, and reach the next prompt, which the first
of them opens; but an ask drops them: keys pressed before the ask was readable must not answer it.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prompt_toolkit.input import Input
from prompt_toolkit.input.typeahead import clear_typeahead, get_typeahead, store_typeahead
from prompt_toolkit.keys import Keys

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyPress

if sys.platform == "win32":
    import msvcrt
else:
    import termios


class Keyboard:
    """The keyboard that the prompts read too."""

    def __init__(self, keys: Input) -> None:
        self._input = keys
        self._typed: list[KeyPress] = []

    @contextlib.contextmanager
    def watched(
        self,
        interrupt: Callable[[], None],
        leave: Callable[[], None],
        typed: Callable[[], None] = lambda: None,
    ) -> Iterator[None]:
        """Have Ctrl-C call `interrupt`, and Ctrl-D or the keyboard's end `leave`, in the block.

        typed: called when keys have come that `waits` reports. A prompt within the block takes the
        keyboard for as long as it is open.
        """

        def read() -> None:
            for pressed in self._input.read_keys():
                if pressed.key is Keys.ControlC:
                    self._typed.clear()
                    interrupt()
                elif pressed.key is Keys.ControlD:
                    leave()
                else:
                    self._typed.append(pressed)
            if self.waits():
                typed()
            if self._input.closed:
                leave()

        with self._input.raw_mode(), self._input.attach(read):
            try:
                yield
            finally:
                store_typeahead(self._input, self._typed)
                self._typed = []

    def waits(self) -> bool:
        """Return whether keys were pressed that begin a line, and no prompt has used them."""
        self._typed += get_typeahead(self._input)  # what the last prompt has left
        return any(_begins_line(pressed) for pressed in self._typed)

    @contextlib.contextmanager
    def handed_over(self) -> Iterator[None]:
        """Give the keys that wait to the prompt in the block, and take back what it leaves."""
        store_typeahead(self._input, self._typed)
        self._typed = []
        # Detached, so that no key is taken away between now and the moment the prompt reads.
        with self._input.detach():
            yield

    def discard(self) -> None:
        """Drop all input typed before now, whether it was already read or not."""
        self._typed.clear()
        clear_typeahead(self._input)
        if sys.platform == "win32":
            while msvcrt.kbhit():
                msvcrt.getwch()
        else:
            # A pipe has no such queue, and an input without a file no number.
            with contextlib.suppress(OSError, ValueError, NotImplementedError, termios.error):
                termios.tcflush(self._input.fileno(), termios.TCIFLUSH)


def _begins_line(pressed: "KeyPress") -> bool:
    """Return whether a key begins a line: text, also pasted, or the way to an earlier line."""
    if isinstance(pressed.key, Keys):
        return pressed.key in (Keys.BracketedPaste, Keys.Up)
    return pressed.key.isprintable()
