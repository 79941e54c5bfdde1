"""The supervisor of all sessions: makes them, finds them by resume token, bounds their number."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from actors.runtime.actor import Actor
from actors.runtime.ask import Reply
from actors.runtime.ref import ActorRef
from actors.runtime.supervision import Down, Order, Supervision
from actors.sessions.messages import SessionEnvironment, SessionMessage
from actors.sessions.policies import SESSION
from actors.sessions.session import SessionActor

RESUME_TOKEN_BYTES: Final = 32

_KEY_BYTES: Final = 8
"""Of a resume token: these find it, and tell nothing of the rest."""


@dataclass(slots=True)
class Opened:
    """A new session. resume_token: the secret by which `FindSession` finds it again."""

    name: str
    ref: ActorRef[SessionMessage]
    resume_token: bytes


@dataclass(slots=True)
class OpenSession:
    """Make a session for a client that has shown its token; None: there are too many.

    A session that waits for its client gives way: first one that has nothing running, the one that
    has waited longest among them. So only sessions that have a connection keep others out.
    """

    reply: Reply[Opened | None]


@dataclass(slots=True)
class FindSession:
    """The session that this resume token belongs to; None: there is none, or no longer."""

    resume_token: bytes
    reply: Reply[Opened | None]


@dataclass(slots=True)
class AllSessions:
    """Every session that there is, with a connection or without."""

    reply: Reply[list[ActorRef[SessionMessage]]]


SessionsMessage: TypeAlias = OpenSession | FindSession | AllSessions


class Sessions(Actor[SessionsMessage]):
    """The supervisor of all sessions.

    new_secret: RESUME_TOKEN_BYTES random bytes. at_most: sessions at once, those without a
    connection included.
    """

    supervision = Supervision(order=Order.TOGETHER)

    def __init__(
        self,
        environment: SessionEnvironment,
        new_name: Callable[[], str],
        new_secret: Callable[[], bytes],
        at_most: int,
    ) -> None:
        self._environment = environment
        self._new_name = new_name
        self._new_secret = new_secret
        self._at_most = at_most
        self._opened: dict[bytes, Opened] = {}
        self._keys: dict[str, bytes] = {}
        self._away: dict[str, SessionActor] = {}

    def receive(self, message: SessionsMessage) -> None:
        """Start a session or find one; none is made for who has gone meanwhile."""
        match message:
            case OpenSession(reply):
                if not reply.done:
                    reply.send(self._open())
            case FindSession(resume_token, reply):
                reply.send(self._find(resume_token))
            case AllSessions(reply):
                reply.send([opened.ref for opened in self._opened.values()])

    def child_ended(self, down: Down) -> None:
        """A session is no more: its resume token finds nothing."""
        self._forget(down.name)

    def _open(self) -> Opened | None:
        if len(self._opened) >= self._at_most and not self._make_room():
            return None
        name, token = self._new_name(), self._new_secret()
        session = SessionActor(name, self._environment, self._away)
        ref = self.context.spawn(lambda: session, name=name, lifecycle=SESSION)
        opened = Opened(name, ref, token)
        key = token[:_KEY_BYTES]
        self._keys[name] = key
        self._opened[key] = opened
        return opened

    def _make_room(self) -> bool:
        """End a session that waits for its client; return False if there is none."""
        waiting = self._away.values()
        session = next((one for one in waiting if one.idle), None) or next(iter(waiting), None)
        if session is None:
            return False
        self._forget(session.name)
        session.give_way()
        return True

    def _forget(self, name: str) -> None:
        key = self._keys.pop(name, None)
        if key is not None:
            del self._opened[key]

    def _find(self, resume_token: bytes) -> Opened | None:
        opened = self._opened.get(resume_token[:_KEY_BYTES])
        if opened is None or not hmac.compare_digest(opened.resume_token, resume_token):
            return None
        return opened
