"""The interface of a chat backend: it keeps conversations and makes replies."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from actors import Burst, ChildSpec, PushSource, Shared
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    AskClosed,
    AskEvent,
    Attachment,
    ChatCompleted,
    ChatNotice,
    ChatToken,
    CommandList,
    History,
    OptionList,
    PlanEvent,
    ReasoningToken,
    SessionInfo,
    SessionList,
    SteerEvent,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    UsageEvent,
)
from callboard_service.backends.journal import TurnJournal
from callboard_service.pages import MAX_ENTRY_BYTES, PAGE_BYTES, TURNS_BYTES
from callboard_service.store.histories import RecentTurns

__all__ = [
    "MAX_ENTRY_BYTES",
    "PAGE_BYTES",
    "TURNS_BYTES",
    "ChatBackend",
    "Health",
    "Prompt",
    "Pushed",
    "ReplyEvent",
    "TellChange",
    "TurnEvent",
]

TurnEvent: TypeAlias = (
    ToolCallEvent
    | ToolProgressEvent
    | ToolResultEvent
    | PlanEvent
    | UsageEvent
    | AskEvent
    | AskClosed
    | ChatNotice
    | SteerEvent
)
"""Every event of a turn but its tokens, its state and its end."""

ReplyEvent: TypeAlias = ChatToken | ReasoningToken | TurnEvent | ChatCompleted

Pushed: TypeAlias = ReplyEvent | Shared[ReplyEvent]
"""What a PushSource of reply events passes on; as `Shared`, only a TextToken."""

Reply: TypeAlias = ReplyEvent | Burst[ReplyEvent] | PushSource[ReplyEvent]
"""What a backend yields of a reply. A Burst holds only tokens."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A user's message, and what the backend needs to reply to it.

    model: that of this message; empty: the conversation's choice, or the backend's own. choices:
    what was chosen in the conversation, by option. answered: waits for the next answer to an ask of
    this reply. session: the client's session; scarce places are shared fairly among sessions.
    turn_id: unique in the conversation. resumed: the reply began before the service ended; see
    `ChatBackend.reply`. recent: the newest `ChatBackend.prompt_bytes` of the conversation, if they
    are at hand.
    """

    conversation_id: str
    text: str
    model: str
    answered: Callable[[], Awaitable[AnswerRequest]]
    session: str = ""
    turn_id: str = ""
    resumed: bool = False
    attachments: Sequence[Attachment] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    recent: RecentTurns | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """Whether chat requests can be served now, with an explanation for a person to read."""

    ready: bool
    detail: str


class TellChange(Protocol):
    """Takes the id of a conversation that has changed by itself."""

    def __call__(self, conversation_id: str, options: OptionList | None = None) -> None:
        """Have the change reported soon. options: those that can be chosen now, if they changed."""


class ChatBackend(Protocol):
    """Keeps conversations and makes replies.

    The conversation's actor stores the turns through `journal`; the backend makes their output.
    Expected errors are raised as Failure, with the contract's codes.
    """

    name: str

    features: Collection[str]
    """What its conversations have beyond "follow": names of Welcome.features."""

    resumes: bool
    """Whether a reply may have gone on while the service was not there."""

    journal: TurnJournal

    @property
    def data_folder(self) -> Path | None:
        """The folder that one service at a time may use, or None if it keeps nothing in one."""

    def store_spec(self) -> ChildSpec | None:
        """Return the actor that owns the conversations, or None if the backend keeps none itself.

        The service starts it before `spec` and supervises it separately, so conversations can be
        read and deleted even while no reply can be made.
        """

    def store_health(self) -> Health | None:
        """Return the health of the store, or None if the backend keeps no conversations itself."""

    def watch(self, changed: TellChange) -> None:
        """Call `changed` for each conversation whose info or options change by themselves.

        That is not by a request, but for example by a title that an agent gives later. A change
        of the info while a turn runs is reported at its end, too.
        """

    def hurry(self, seconds: float) -> None:
        """Let writes wait for at most `seconds` from now on, because the service is stopping."""

    def spec(self) -> ChildSpec | None:
        """Return the subtree that makes replies, or None if replies need no actor."""

    def health(self) -> Health:
        """Return the last known state, without I/O."""

    async def conversations(
        self,
        limit: int = 0,
        page: str = "",
        at_most_bytes: int = PAGE_BYTES,
        *,
        search: str = "",
        archived: bool = False,
    ) -> SessionList:
        """Return a page of conversations, the most recently changed first.

        limit: number of conversations; 0: as many as fit into `at_most_bytes`. page: `next_page` of
        the previous page; empty: the first page. A conversation that changes between two calls may
        be missed or repeated. search: only those whose title or text contains this, compared
        without case; with the feature "search" only. archived: also archived ones. The result may
        be shared with other callers and must not be changed. Raises Failure: INVALID_ARGUMENT for a
        malformed `page`.
        """

    async def create(self, title: str, create_id: str = "", directory: str = "") -> SessionInfo:
        """Create a conversation and return it; a repeated `create_id` returns the first one.

        directory: in which the agent works; empty: the backend's own. Raises Failure: UNIMPLEMENTED
        if the backend has no directories, INVALID_ARGUMENT for one that is not absolute or does not
        exist.
        """

    async def get(self, conversation_id: str) -> SessionInfo:
        """Return one conversation. Raises Failure: NOT_FOUND."""

    async def update(
        self, conversation_id: str, title: str | None, archived: bool | None
    ) -> SessionInfo:
        """Change what is not None, and return the conversation. Raises Failure: NOT_FOUND."""

    async def fork(
        self, conversation_id: str, before: str, title: str, create_id: str
    ) -> SessionInfo:
        """Copy a conversation up to, but not including, the entry `before`, and return the copy.

        before: the id of a turn's user text; empty: all ended turns. title: empty: the backend's
        choice. create_id: as in `create`. With the feature "fork" only. Raises Failure: NOT_FOUND,
        and INVALID_ARGUMENT for another `before`.
        """

    async def options(self, conversation_id: str) -> OptionList:
        """Return what can be chosen; conversation_id: empty: in a new conversation.

        With the feature "options" only. Raises Failure: NOT_FOUND.
        """

    async def set_option(self, conversation_id: str, option_id: str, value: str) -> OptionList:
        """Choose, and return what can be chosen then. With the feature "options" only.

        Raises Failure: NOT_FOUND, and INVALID_ARGUMENT for an unknown option or value.
        """

    async def commands(self, conversation_id: str) -> CommandList:
        """Return the commands that a message may begin with. With the feature "commands" only.

        Raises Failure: NOT_FOUND.
        """

    def prompt_bytes(self, conversation_id: str) -> int:
        """Return how many bytes of the conversation a reply begins with; 0: it reads none."""

    def check_attachments(self, attachments: Sequence[Attachment]) -> None:
        """Raise Failure, INVALID_ARGUMENT, if the backend cannot use one of these."""

    async def steer(self, conversation_id: str, turn_id: str, message: SteerEvent) -> None:
        """Hand a message to the running reply, which uses it or not before it ends.

        If it does, the reply yields a SteerEvent with the `message_id`. With the feature "steer"
        only. Raises Failure: FAILED_PRECONDITION if the reply takes none now.
        """

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation permanently; none of its replies runs afterwards.

        Raises Failure: NOT_FOUND.
        """

    async def history(
        self, conversation_id: str, limit: int, before: str, at_most_bytes: int = PAGE_BYTES
    ) -> History:
        """Return a page of entries, oldest first: the newest ones before the entry `before`.

        limit: number of entries; 0: the backend's choice. The encoded entries take at most
        `at_most_bytes`, but at least one entry is returned, whatever its size. `more` is set if
        there are older ones. Raises Failure: NOT_FOUND, and INVALID_ARGUMENT for an unknown
        `before`.
        """

    def reply(self, prompt: Prompt) -> AsyncGenerator[Reply, None]:
        """Yield the reply as it is made; the last event is a ChatCompleted.

        The message is the newest one of the conversation's history. The events of a PushSource take
        its place. At most one reply runs for a conversation at a time. Closing the generator stops
        the model.

        If the prompt is `resumed`, which only backends with `resumes` get, nothing is started. The
        whole reply is yielded, from its beginning, if it went on; otherwise Failure is raised
        before the first event.

        Raises Failure.
        """
