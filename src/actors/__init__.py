"""An actor runtime for asyncio, with sessions and requests on top; standard library only.

It has supervision as in Erlang/OTP, typed refs and asks as in Akka, and only bounded mailboxes.
`actors.testing` also needs pytest.
"""

from actors.errors import (
    ActorError,
    AlreadyRegistered,
    AskCrashed,
    AskCycle,
    AskDropped,
    AskFailed,
    AskTimeout,
    GivenUp,
    MailboxFull,
    NameTaken,
    NoActor,
    NormalEnd,
    NotRegistered,
    NotRunning,
    Rejected,
    StartFailed,
    Unavailable,
    Undelivered,
)
from actors.protocol.effects import EndedBy
from actors.protocol.failure import Code, Failure
from actors.protocol.frames import (
    Burst,
    Closes,
    Last,
    Message,
    Notice,
    Opens,
    PushSource,
    Relay,
    Shared,
    shared,
)
from actors.protocol.texts import Texts
from actors.requests.duplex import DuplexActor
from actors.requests.event_log import EventLog, EventReader, Gap, LogClosed
from actors.requests.interceptors import Call, Ending, Interceptor
from actors.requests.pull import Yielded
from actors.requests.registry import Registry
from actors.requests.request import Handler, RequestActor, RequestContext, StreamActor
from actors.runtime.actor import Actor, ActorContext, ChildSpec, Supervisor
from actors.runtime.ask import Askable, Question, Reply
from actors.runtime.clock import Clock, LoopClock, Timer
from actors.runtime.events import (
    Blocked,
    ChildGivenUp,
    Crashed,
    DeadLetter,
    Event,
    Observer,
    Restarted,
    Started,
    Stopped,
    Stuck,
)
from actors.runtime.log import Log
from actors.runtime.mailbox import Mailbox, Overflow
from actors.runtime.ref import ActorRef
from actors.runtime.supervision import (
    Backoff,
    Down,
    Exit,
    Intensity,
    Lifecycle,
    Order,
    Restart,
    Strategy,
    Supervision,
    Tally,
)
from actors.runtime.system import ActorSnapshot, ActorSystem
from actors.runtime.view import ActorView, Part, Resting
from actors.sessions.details import SessionDetails

__all__ = [
    "Actor",
    "ActorContext",
    "ActorError",
    "ActorRef",
    "ActorSnapshot",
    "ActorSystem",
    "ActorView",
    "AlreadyRegistered",
    "AskCrashed",
    "AskCycle",
    "AskDropped",
    "AskFailed",
    "AskTimeout",
    "Askable",
    "Backoff",
    "Blocked",
    "Burst",
    "Call",
    "ChildGivenUp",
    "ChildSpec",
    "Clock",
    "Closes",
    "Code",
    "Crashed",
    "DeadLetter",
    "Down",
    "DuplexActor",
    "EndedBy",
    "Ending",
    "Event",
    "EventLog",
    "EventReader",
    "Exit",
    "Failure",
    "Gap",
    "GivenUp",
    "Handler",
    "Intensity",
    "Interceptor",
    "Last",
    "Lifecycle",
    "Log",
    "LogClosed",
    "LoopClock",
    "Mailbox",
    "MailboxFull",
    "Message",
    "NameTaken",
    "NoActor",
    "NormalEnd",
    "NotRegistered",
    "NotRunning",
    "Notice",
    "Observer",
    "Opens",
    "Order",
    "Overflow",
    "Part",
    "PushSource",
    "Question",
    "Registry",
    "Rejected",
    "Relay",
    "Reply",
    "RequestActor",
    "RequestContext",
    "Restart",
    "Restarted",
    "Resting",
    "SessionDetails",
    "Shared",
    "StartFailed",
    "Started",
    "Stopped",
    "Strategy",
    "StreamActor",
    "Stuck",
    "Supervision",
    "Supervisor",
    "Tally",
    "Texts",
    "Timer",
    "Unavailable",
    "Undelivered",
    "Yielded",
    "shared",
]  # fmt: skip
