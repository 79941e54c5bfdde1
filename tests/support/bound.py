"""Every mailbox holds one message, while `MAILBOX_BOUND=1`: that finds what waits in a circle.

`make bound` runs the tests of the runtime so, and those of the chat with a service started so:
`python -m tests.support.bound serve` in place of `callboard serve`. A test marked `own_bound` is
left out, and says why: what it is about cannot be with one message a mailbox.
"""

import os
from typing import Final

import pytest

from actors.runtime import mailbox

BOUND: Final = int(os.environ.get("MAILBOX_BOUND", "0"))
"""Messages; 0: as many as each says itself."""


def bounded(self: mailbox.Mailbox[object], capacity: int, overflow: mailbox.Overflow) -> None:
    """`Mailbox.__init__`, at most `BOUND`."""
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
