"""The supervisor of all sessions: creates them, finds them by resume token, limits their number.

A session that crashes is not restarted (`SESSION`). Its requests, which are its children, are
cancelled at once (`actors.sessions.policies`, carried out by `actors.runtime.restarting`), its
connection is closed with 4004 (`transport.server.connection`), and its client opens a new session.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from actors.runtime.actor import Actor
from actors.runtime.ask import Reply
from actors.runtime.ref import ActorRef
from actors.runtime.supervision import Down, Lifecycle, Order, Restart, Supervision
from actors.sessions.messages import SessionEnvironment, SessionMessage
from actors.sessions.session import SessionActor

RESUME_TOKEN_BYTES: Final = 32

SESSION: Final = Lifecycle(restart=Restart.TEMPORARY, shutdown=5.0, capacity=1024)
"""A crashed session is gone."""

_KEY_BYTES: Final = 8
"""The leading bytes of a resume token by which it is looked up; they reveal nothing of the rest."""


@dataclass(slots=True)
class Opened:
    """A new or found session. resume_token: the secret by which `FindSession` finds it again."""

    name: str
    ref: ActorRef[SessionMessage]
    resume_token: bytes


@dataclass(slots=True)
class OpenSession:
    """Create a session for an authenticated client; the reply is None if there are too many.

    A session that waits for its client gives way: first the longest-waiting one that has no request
    in flight, else the longest-waiting one. So only sessions that have a connection keep others
    out.
    """

    reply: Reply[Opened | None]


@dataclass(slots=True)
class FindSession:
    """Find the session that this resume token belongs to; the reply is None if there is none."""

    resume_token: bytes
    reply: Reply[Opened | None]


@dataclass(slots=True)
class AllSessions:
    """List every session, with or without a connection."""

    reply: Reply[list[ActorRef[SessionMessage]]]


SessionsMessage: TypeAlias = OpenSession | FindSession | AllSessions


class Sessions(Actor[SessionsMessage]):
    """The supervisor of all sessions.

    new_secret: returns RESUME_TOKEN_BYTES random bytes. at_most: the number of sessions at once,
    including those without a connection.
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
        """Create or find a session; create none if whoever asked has given up."""
        match message:
            case OpenSession(reply):
                if not reply.done:
                    reply.send(self._open())
            case FindSession(resume_token, reply):
                reply.send(self._find(resume_token))
            case AllSessions(reply):
                reply.send([opened.ref for opened in self._opened.values()])

    def child_ended(self, down: Down) -> None:
        """Forget a session that has ended: its resume token finds nothing from now on."""
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
