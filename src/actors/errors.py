"""All errors of the actor runtime.

    ActorError
    ├── Undelivered           the message was not taken; carries it
    │   ├── MailboxFull       no room, and the policy is WAIT (with `tell`) or REFUSE
    │   ├── NotRunning        the actor has stopped or is stopping
    │   └── Unavailable       a named actor that cannot run now; its Failure is the cause
    ├── AskFailed             there will be no answer to the ask
    │   ├── AskTimeout        no answer within the timeout
    │   ├── AskCrashed        the actor took the ask and crashed before it answered
    │   ├── AskCycle          the actor waits, directly or through others, for the asker
    │   └── AskDropped        the actor stopped, its group restarted or its mailbox dropped the ask
    ├── StartFailed           the actor did not start; its error, if any, is the cause
    ├── NameTaken             the parent already has a child of that name
    ├── Rejected              `started` refuses to start, without a crash
    ├── NormalEnd             a permanent actor ended by itself; its supervisor restarts it
    ├── GivenUp               a child crashed more often than its supervisor allows
    ├── AlreadyRegistered     a second actor type for a message, or a second actor of a name
    ├── NotRegistered         no registration matches, or more than one does
    └── NoActor               a handler that is a plain function used what only an actor has

`Failure` (in `actors.protocol.failure`) is not among them: it is an answer, not a fault.
"""


class ActorError(Exception):
    """Base class of all errors that the runtime raises."""


class Undelivered(ActorError):
    """The message was not taken. `undelivered` is that message, so nothing is lost."""

    def __init__(self, path: str, undelivered: object) -> None:
        super().__init__(f"{path}: {self.reason}")
        self.path: str = path
        self.undelivered: object = undelivered

    reason = "message not delivered"


class MailboxFull(Undelivered):
    """The mailbox has no room, and the sender cannot wait for any.

    Also raised by `send` where waiting would complete a cycle of waiting actors.
    """

    reason = "mailbox full"


class NotRunning(Undelivered):
    """The actor has stopped or is stopping."""

    reason = "actor not running"


class Unavailable(Undelivered):
    """A named actor cannot run now, so its key takes no messages. Its Failure is the cause."""

    reason = "named actor unavailable"


class AskFailed(ActorError):
    """There will be no answer to the ask."""


class AskTimeout(AskFailed):
    """The timeout passed; the actor may still handle the message."""


class AskCrashed(AskFailed):
    """The actor took the ask and crashed before it answered. It does not handle it again.

    The actor's error is the cause.
    """


class AskDropped(AskFailed):
    """The actor stopped, its group restarted, or its mailbox dropped the ask, before an answer."""


class AskCycle(AskFailed):
    """The actor waits for the asker, directly or through others, so the ask was not sent."""


class StartFailed(ActorError):
    """The actor did not start, and nothing of it is left. Its error, if any, is the cause.

    Also raised if the parent cannot start children because it is paused or stopping.
    """


class Rejected(ActorError):
    """Raise this in `started` to end the actor without a crash: it is not restarted.

    The questions that wait in its mailbox are answered with `failure`, which `ask` raises; its
    other messages become dead letters.
    """

    def __init__(self, failure: Exception) -> None:
        super().__init__(f"rejected: {failure}")
        self.failure: Exception = failure


class NameTaken(ActorError):
    """The parent already has a child of that name."""


class NormalEnd(ActorError):
    """A permanent actor ended by itself; it is restarted as if it had crashed with this."""


class GivenUp(ActorError):
    """A child crashed more often than the intensity allows; its supervisor crashes with this."""


class AlreadyRegistered(ActorError):
    """The registry already has an actor type for that message, or an actor of that name."""


class NotRegistered(ActorError):
    """No background actor of the type runs, or several do and no name was given.

    Also raised by `Registry.check` for an interceptor of a message that no actor type answers.
    """


class NoActor(ActorError):
    """A handler that is a plain function is not an actor: no ref, no children, no watches."""
