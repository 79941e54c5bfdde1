"""What observers may know of a session."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors.protocol.answer_stream import UNLIMITED

if TYPE_CHECKING:
    from actors.sessions.session import SessionActor


@dataclass(frozen=True, slots=True)
class SessionDetails:
    """A session's connection, requests, buffers and credit: `ActorView.details` of its actor."""

    connected: bool
    """False while it waits for its client to come back."""
    requests: int
    """Requests in flight."""
    blocked: int
    """Those of them that wait for room or for credit."""
    send_queue: int
    """Answers that the connection has not taken yet."""
    send_queue_bytes: int
    replay: int
    """Answers that it has taken, kept for a resume."""
    replay_bytes: int
    held_bytes: int
    """The bytes of both, and of the requests in flight and their inputs."""
    credit: int | None
    """The least that a request may send before its client gives more; None: none is limited."""
    answers: int
    """Answers made since the session was opened."""


def describe(session: "SessionActor") -> SessionDetails:
    """Return the details of a session."""
    machine = session.machine
    queue, replay, flow = machine.output.queue, machine.output.replay, machine.output.flow
    streams = [request.stream for request in machine.requests.values()]
    limited = [each.limit - each.sent for each in streams if each.limit != UNLIMITED]
    return SessionDetails(
        connected=session.connection is not None,
        requests=len(streams),
        blocked=sum(request_id in machine.requests for request_id in flow.blocked),
        send_queue=queue.sequence - replay.last,
        send_queue_bytes=queue.size,
        replay=replay.last - replay.acknowledged,
        replay_bytes=replay.size,
        held_bytes=flow.size + machine.account.input_bytes,
        credit=max(min(limited), 0) if limited else None,
        answers=queue.sequence,
    )
