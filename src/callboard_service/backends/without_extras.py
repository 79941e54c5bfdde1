"""The parts of a ChatBackend that a backend without the features in question shares."""

from collections.abc import Sequence

from actors import Code, Failure
from callboard.v1.chat_pb2 import Attachment, CommandList, OptionList, SteerEvent
from callboard_service.backends.base import TellChange


class WithoutExtras:
    """A backend without options, commands, attachments and steering."""

    def watch(self, changed: TellChange) -> None:
        """Do nothing: no conversation of this backend changes by itself."""

    async def options(self, conversation_id: str) -> OptionList:
        """Raise Failure, UNIMPLEMENTED: this backend offers no choice."""
        raise lacks("options")

    async def set_option(self, conversation_id: str, option_id: str, value: str) -> OptionList:
        """Raise Failure, UNIMPLEMENTED: this backend offers no choice."""
        raise lacks("options")

    async def commands(self, conversation_id: str) -> CommandList:
        """Raise Failure, UNIMPLEMENTED: this backend has no commands."""
        raise lacks("commands")

    def prompt_bytes(self, conversation_id: str) -> int:
        """Return 0: a reply reads nothing of its conversation."""
        return 0

    def check_attachments(self, attachments: Sequence[Attachment]) -> None:
        """Raise Failure, UNIMPLEMENTED: this backend takes no attachments."""
        raise lacks("attachments")

    async def steer(self, conversation_id: str, turn_id: str, message: SteerEvent) -> None:
        """Raise Failure, FAILED_PRECONDITION: a reply of this backend takes no messages."""
        raise Failure(Code.FAILED_PRECONDITION, "this backend takes no messages while it replies")


def lacks(feature: str) -> Failure:
    """Return the Failure of a request of a feature that the backend does not have."""
    return Failure(Code.UNIMPLEMENTED, f"this backend has no {feature}")
