"""A session's machine, given frames of every kind."""

from dataclasses import dataclass

from actors.protocol.answer_stream import UNLIMITED, AnswerStream
from actors.protocol.effects import Effect
from actors.protocol.frames import Frame, Message, Request
from actors.protocol.machine import SessionMachine


@dataclass
class Start:
    """The request is to be run."""

    request: Request


def receive(
    machine: SessionMachine, frame: Frame, size: int, now: float, answer: Message | None = None
) -> list[Effect | Start]:
    """answer: what a request that is admitted is answered with at once; None: it is open then."""
    if not isinstance(frame, Request):
        return [*machine.receive(frame, size, now)]
    effects = machine.admit(frame, size, now)
    if effects is not None:
        return [*effects]
    if answer is None:
        machine.open(frame.request_id)
    else:
        machine.answer_at_once(frame.request_id, answer)
    return [Start(frame)]


def stream(machine: SessionMachine, request_id: int) -> AnswerStream:
    """The answers of a request in flight; of any other, a stream that is over."""
    if (found := machine._requests.get(request_id)) is not None:
        return found
    over = AnswerStream(
        request_id, UNLIMITED, machine._encode, machine._encode_stream, machine.output
    )
    over.over = True
    return over
