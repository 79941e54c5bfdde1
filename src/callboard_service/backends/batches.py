"""Puts neighbouring tokens together, so that they go through the service in one step."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from actors import Burst
from callboard.v1.chat_pb2 import ChatToken, ReasoningToken
from callboard_service.backends.base import ReplyEvent

LARGEST: Final = 64
"""Events of a server that are taken together."""


def together(events: Sequence[ReplyEvent]) -> Iterator[ReplyEvent | Burst[ReplyEvent]]:
    """Yield the events in their order, with neighbouring tokens of one kind as one Burst."""
    if len(events) == 1:
        yield events[0]
        return
    for kind, run in groupby(events, key=type):
        same = list(run)
        if len(same) > 1 and kind in (ChatToken, ReasoningToken):
            yield Burst(same)
        else:
            yield from same
