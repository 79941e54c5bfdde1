"""What the model server is asked for, and when."""

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Workload:
    """Replies that are asked for over one connection.

    pause: milliseconds between the tokens of a reply; 0: at full speed. together: tokens in one
    write of the model server. over: seconds in which the replies begin, at random times; 0: all are
    asked for in one write. one_by_one: each begins when the one before it has ended.
    """

    name: str
    replies: int
    tokens: int
    pause: int = 0
    together: int = 1
    over: float = 0.0
    one_by_one: bool = False

    @property
    def text(self) -> str:
        """The message that asks the model server for such a reply."""
        return f"t{self.tokens}-ms{self.pause}-b{self.together}"


IN_STEP: Final = Workload("50 x 50/s, in step", 50, 400, pause=20)
SPREAD: Final = replace(IN_STEP, name="50 x 50/s", over=1.0)
MANY: Final = Workload("200 x 20/s", 200, 160, pause=50, over=1.0)
LONG: Final = Workload("1 x 40,000", 1, 40_000, together=20)
FAST: Final = Workload("20 x 5,000", 20, 5_000, together=20)
SHORT: Final = Workload("1,000 x 8", 1000, 8, pause=20, over=4.0)
ALONE: Final = Workload("one at a time", 20, 8, pause=20, one_by_one=True)

FULL: Final = (IN_STEP, SPREAD, MANY, LONG, FAST, SHORT, ALONE)

QUICK: Final = (
    replace(IN_STEP, tokens=100),
    replace(SPREAD, tokens=100),
    replace(MANY, tokens=40),
    replace(LONG, tokens=10_000),
    replace(FAST, tokens=1000),
    replace(SHORT, replies=250, over=1.0),
    replace(ALONE, replies=5),
)
"""The same names with fewer tokens: what a reply costs by itself weighs more in each token."""

_SLOWER: Final = 5


def for_slow(workload: Workload) -> Workload:
    """Return the workload with a fifth of the tokens, for a server that takes milliseconds each."""
    if workload.tokens <= SHORT.tokens:
        return replace(workload, replies=max(5, workload.replies // _SLOWER))
    return replace(workload, tokens=max(SHORT.tokens, workload.tokens // _SLOWER))
