"""A session's machine, given frames of every kind."""

from dataclasses import dataclass

from actors.effects import Effect
from actors.frames import Frame, Request
from actors.machine import SessionMachine


@dataclass
class Start:
    """The request is to be run."""

    request: Request


def receive(machine: SessionMachine, frame: Frame, size: int, now: float) -> list[Effect | Start]:
    if not isinstance(frame, Request):
        return [*machine.receive(frame, size, now)]
    effects = machine.admit(frame, size, now)
    return [Start(frame)] if effects is None else [*effects]
