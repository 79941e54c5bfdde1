"""Every error of the actor runtime.

    ActorError
    ├── Undelivered           the message did not reach the actor; carries it
    │   ├── MailboxFull       bounded mailbox, policy WAIT (by `tell`) or REFUSE
    │   └── NotRunning        the actor has stopped, or is stopping
    ├── AskFailed             the question was taken, the answer will not come
    │   ├── AskTimeout        no answer within the deadline
    │   ├── AskCrashed        the actor crashed while it handled the question
    │   ├── AskCycle          the actor waits, directly or not, for the asker
    │   └── AskDropped        the actor stopped, or its mailbox dropped the question
    ├── StartFailed           factory or `started` raised; carries the cause
    ├── NameTaken             two children of one parent under one name
    ├── NormalEnd             a permanent actor ended by itself, which its supervisor mends
    ├── GivenUp               a child crashed more often than its supervisor allows
    ├── AlreadyRegistered     two actor types for one message, two actors of one name
    ├── NotRegistered         what is asked for by its type was never registered
    └── NoActor               a handler that is a plain function asks for what an actor has

`Failure` (in `actors.protocol.failure`) is not among them: it is an answer, not a fault.
"""


class ActorError(Exception):
    """Base of all errors that the runtime raises."""


class Undelivered(ActorError):
    """The message was not taken; `undelivered` is that message, nothing is lost."""

    def __init__(self, path: str, undelivered: object) -> None:
        super().__init__(f"{path}: {self.reason}")
        self.path: str = path
        self.undelivered: object = undelivered

    reason = "message not delivered"


class MailboxFull(Undelivered):
    """The mailbox is at its bound."""

    reason = "mailbox full"


class NotRunning(Undelivered):
    """The actor has stopped, or is stopping."""

    reason = "actor not running"


class AskFailed(ActorError):
    """The question got no answer."""


class AskTimeout(AskFailed):
    """The deadline passed; the actor may still handle the question."""


class AskCrashed(AskFailed):
    """The actor crashed on the question, which is not handled again; the cause is chained."""


class AskDropped(AskFailed):
    """The actor stopped, or its mailbox dropped the question, before it was answered."""


class AskCycle(AskFailed):
    """The actor waits for an answer of the asker's, directly or through others: never asked."""


class StartFailed(ActorError):
    """The actor did not start; the cause is chained. Nothing of it is left."""


class NameTaken(ActorError):
    """The parent has a child of that name."""


class NormalEnd(ActorError):
    """A permanent actor ended by itself; it is restarted as if it had crashed with this."""


class GivenUp(ActorError):
    """A child crashed more often than the intensity allows; its supervisor crashes with this."""


class AlreadyRegistered(ActorError):
    """The registry has an actor type for that message, or an actor of that name."""


class NotRegistered(ActorError):
    """What is asked for by its type is not in the registry."""


class NoActor(ActorError):
    """A handler that is a plain function is no actor: it has no ref, no children, no watch."""
