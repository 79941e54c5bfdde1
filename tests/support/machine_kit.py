"""Helpers for the tests of the session machine."""

from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from actors.protocol.answer_stream import NO_STREAM, UNLIMITED, AnswerStream
from actors.protocol.connection import NO_CONNECTION
from actors.protocol.effects import Effect
from actors.protocol.encoding import OneByOne
from actors.protocol.frames import Frame, Message, Request
from actors.protocol.limits import SessionLimits
from actors.protocol.machine import SessionMachine
from actors.protocol.output import Output
from tests.support.session_kit import encode


@dataclass(slots=True)
class Asker:
    """A request in flight without a handler."""

    request_id: int
    stream: AnswerStream = NO_STREAM
    size: int = 0
    input_limit: int = 0
    newest_input: int = 0

    def grants(self, number: int) -> bool:
        granted = self.newest_input < number <= self.input_limit
        self.newest_input = number if granted else self.newest_input
        return granted

    def reconnected(self) -> None:
        self.newest_input = 0


Machine: TypeAlias = SessionMachine[Asker]


@dataclass
class Start:
    """Returned by `receive` for a request that is admitted."""

    request: Request


def receive(
    machine: Machine,
    frame: Frame,
    size: int,
    now: float,
    answer: Message | None = None,
    *,
    endless: bool = False,
) -> list[Effect | Start]:
    """Give the machine a frame and return the effects.

    answer: the immediate answer to a request that is admitted; None: the request stays open.
    endless: whether it is an endless one.
    """
    if not isinstance(frame, Request):
        return [*machine.receive(frame, size, now)]
    effects = machine.admit(frame, size, now)
    if effects is not None:
        return [*effects]
    if answer is None:
        machine.open(Asker(frame.request_id), endless=endless)
    else:
        machine.answer_at_once(frame.request_id, answer)
    return [Start(frame)]


def stream(machine: Machine, request_id: int) -> AnswerStream:
    """Return the answer stream of a request in flight; for any other, one that is over."""
    if (found := machine.requests.get(request_id)) is not None:
        return found.stream
    over = AnswerStream(
        request_id, UNLIMITED, machine._encode, machine._encode_stream, machine.output
    )
    over.over = True
    return over


def gone(machine: Machine, request_id: int) -> bool:
    """Report that the request's actor is gone; return whether it had crashed."""
    found = machine.requests.get(request_id)
    return found is not None and machine.gone(found)


def output(*, outbox: int = 10_000) -> Output:
    """Make the output of a session whose client acknowledges."""
    made = Output(SessionLimits(outbox_bytes=outbox))
    made.attach(NO_CONNECTION, acknowledges=True)
    return made


def answer_stream(out: Output, limit: int = UNLIMITED) -> AnswerStream:
    """Make an answer stream without a machine."""
    return AnswerStream(7, limit, encode, partial(OneByOne, encode), out)
