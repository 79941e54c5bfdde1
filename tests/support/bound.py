"""With `MAILBOX_BOUND=1`, every mailbox holds one message, which exposes circular waits.

`make bound` runs the tests of the runtime this way, and those of the chat with a service started
by `python -m tests.support.bound serve` instead of `callboard serve`. It leaves out tests marked
`own_bound`, which say why they cannot work with one message per mailbox.
"""

import os
from typing import Final

import pytest

from actors.runtime import mailbox

BOUND: Final = int(os.environ.get("MAILBOX_BOUND", "0"))
"""The largest capacity of a mailbox in messages; 0: the capacities are not changed."""


def bounded(self: mailbox.Mailbox[object], capacity: int, overflow: mailbox.Overflow) -> None:
    """Replace `Mailbox.__init__`: the capacity is at most `BOUND`."""
    ORIGINAL(self, min(capacity, BOUND), overflow)


def check_reason(mark: pytest.Mark) -> None:
    """Raise UsageError if a mark `own_bound` does not say why."""
    match mark.args:
        case (str(reason),) if reason and not mark.kwargs:
            return
    raise pytest.UsageError("own_bound takes one string: why one message a mailbox is too few")


ORIGINAL: Final = mailbox.Mailbox.__init__


if __name__ == "__main__":
    from callboard_service.cli import main

    mailbox.Mailbox.__init__ = bounded  # type: ignore[assignment, method-assign]
    main()
