"""A GGUF model that answers chats in this process.

xllamacpp runs llama.cpp's server: a queue of tasks that one native thread works off, a slot for
each concurrent chat, and one batch per step for all slots, so that each of them gets a token per
step. Python adds tasks to that queue and is called back for each result.

This module relies on behaviour that the server does not document, as observed with 2026.10:

- a callback that returns True cancels the task; one that raises is ignored, and the task goes on;
- with `return_progress` the first result comes before the prompt is processed, then one per batch,
  so a smaller batch means an earlier cancel and a shorter stall of the other slots;
- a prompt that does not fit is refused with its number of tokens, and the slot keeps its cache.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict

from callboard_service.backends.local.load import EngineError, LoadError, load_model, one_line

__all__ = [
    "Chat",
    "EngineError",
    "EngineReply",
    "Finish",
    "LoadError",
    "Message",
    "ModelEngine",
    "ReplySink",
    "TooLargeError",
]

# Used when the caller sets no context: some models would take gigabytes for their own.
_DEFAULT_CONTEXT = 8192
# The template adds a few tokens of its own around a message.
_TEMPLATE_TOKENS = 16

Finish = Literal["stop", "length", "cancelled"]


class Message(TypedDict):
    """A message of a chat: `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Chat:
    """A request for a reply to the last message, which is the user's."""

    messages: Sequence[Message]
    max_tokens: int
    temperature: float = 0.7
    seed: int | None = None


@dataclass(frozen=True)
class EngineReply:
    """How a reply ended. `input_tokens` is 0 if it was cancelled before the model saw it."""

    input_tokens: int
    output_tokens: int
    finish: Finish


class ReplySink(Protocol):
    """Receives a reply as it is made. It is called from the thread that called `reply`."""

    def cancelled(self) -> bool:
        """Return whether to stop; called before each token and each batch of the prompt."""
        ...

    def trimmed(self, messages: int) -> None:
        """Note that the oldest `messages` were left out; called at most once, before any text."""
        ...

    def progress(self, tokens: int, total: int) -> None:
        """Note how many of the prompt's `total` tokens have been processed.

        Called after each batch of the prompt, and also for a token without text.
        """
        ...

    def token(self, text: str) -> None:
        """Take the next piece of the text, in whole characters."""
        ...

    def thought(self, text: str) -> None:
        """Take the next piece of the model's thoughts before it answers, in whole characters."""
        ...


class TooLargeError(EngineError):
    """The newest message does not fit into the context, even without the older turns."""


class ModelEngine:
    """A loaded model. `reply` may be called from up to `parallel` threads at once."""

    def __init__(self, model: Path, *, context: int, threads: int, parallel: int) -> None:
        """Load the model, which takes seconds for a large one. Raises LoadError.

        context: tokens for each chat; 0: the model's own, at most 8,192. It never exceeds what the
        model was trained for. threads: 0 uses as many as do not slow down other processes.
        """
        context = context or _DEFAULT_CONTEXT
        self._server = load_model(model, context=context, threads=threads, parallel=parallel)
        self._filler = " a" * (context + 512)  # exceeds the context, however that is rounded
        self._measure()

    @property
    def context(self) -> int:
        """The tokens that a chat has for prompt and reply together."""
        return self._context

    def reply(self, chat: Chat, sink: ReplySink) -> EngineReply:
        """Answer `chat` and pass the text to `sink` piece by piece, as the model makes it.

        If the prompt does not fit, the oldest turns are left out until there is room for a reply of
        `max_tokens`, or of a quarter of the context if that is less. System messages and the newest
        message are always kept. Raises TooLargeError if these alone do not fit, EngineError if the
        model fails. If the sink raises, the reply ends and the exception is passed on.
        """
        messages = self._fit(chat, sink)
        request: dict[str, object] = {
            "max_tokens": min(chat.max_tokens, self._context),
            "temperature": chat.temperature,
            "top_p": 0.9,
            "repeat_penalty": 1.1,  # small models fall into loops without
            "timings_per_token": True,
        }
        if chat.seed is not None:
            request["seed"] = chat.seed
        stream = _ReplyStream(sink)
        if not sink.cancelled():
            self._run(messages, request, stream)
        return stream.result()

    def _fit(self, chat: Chat, sink: ReplySink) -> list[Message]:
        """Return the messages that fit: all of them, or those without the oldest turns."""
        messages = list(chat.messages)
        reserve = min(chat.max_tokens, self._context // 4)
        if self._most_tokens(messages) + reserve <= self._context:
            return messages
        kept, start = messages, 0
        tokens = self._count(kept)
        while tokens + reserve > self._context and not sink.cancelled():
            # The messages' weights estimate where to cut; the next count checks the estimate.
            goal = (tokens + reserve - self._context) * sum(map(_weight, kept)) / tokens
            if (cut := _cut(messages, start, goal)) is None:
                break
            start = cut
            kept = [m for m in messages[:start] if m["role"] == "system"] + messages[start:]
            tokens = self._count(kept)
        if sink.cancelled():
            return kept
        if tokens >= self._context:
            raise TooLargeError(
                f"the message is too large: the prompt would have {tokens} tokens,"
                f" but the model's context has only {self._context}"
            )
        if len(kept) < len(messages):
            sink.trimmed(len(messages) - len(kept))
        return kept

    def _most_tokens(self, messages: Sequence[Message]) -> int:
        """Return an upper bound of the prompt's tokens: a token is at least one byte."""
        return self._overhead + sum(map(_weight, messages))

    def _count(self, messages: Sequence[Message]) -> int:
        """Return the exact number of tokens of the prompt.

        The server has no call for this. It does report the token count of a prompt that does not
        fit, without touching the slot, so this sends a prompt that certainly does not fit.
        """
        return self._probe(messages, self._filler)[0] - self._filler_tokens

    def _probe(self, messages: Sequence[Message], filler: str) -> tuple[int, int | None]:
        """Return the tokens of the prompt with `filler` after it, and the context if refused."""
        last = messages[-1]
        probe = _Probe()
        padded = Message(role=last["role"], content=last["content"] + filler)
        self._run([*messages[:-1], padded], {"max_tokens": 1}, probe)
        if probe.tokens is None:
            raise EngineError(f"the model cannot count tokens: {probe.message}")
        return probe.tokens, probe.context

    def _measure(self) -> None:
        """Measure the actual context, and how many tokens the template adds to a prompt."""
        short = [Message(role="user", content="a")]
        try:
            once, context = self._probe(short, self._filler)
            twice, _ = self._probe(short, self._filler * 2)
        except EngineError as error:
            raise LoadError(f"the model cannot be used for chats: {error}") from error
        if context is None:
            raise LoadError("the model cannot be used for chats: its context is unknown")
        self._context = context
        self._filler_tokens = twice - once
        self._overhead = once - self._filler_tokens

    def _run(
        self, messages: Sequence[Message], request: dict[str, object], stream: "_Stream"
    ) -> None:
        common = {"messages": messages, "stream": True, "return_progress": True}
        try:
            self._server.handle_chat_completions(common | request, stream)
        except RuntimeError as error:  # the template refuses the messages
            raise EngineError(one_line(str(error))) from error
        if stream.failure is not None:
            raise stream.failure


class _Stream(ABC):
    """A callback for the results of a task; it returns True to cancel the task.

    An exception would be lost in native code, so it is stored for the caller that started the task.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None

    def __call__(self, chunk: dict[str, Any]) -> bool:
        try:
            return self.take(chunk)
        except Exception as error:  # noqa: BLE001 - stored, and raised by ModelEngine._run
            self.failure = error
            return True

    @abstractmethod
    def take(self, chunk: dict[str, Any]) -> bool:
        """Take one result; return True to cancel the task."""


class _Probe(_Stream):
    """Reads the number of tokens from the first result."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: int | None = None
        self.context: int | None = None
        self.message = "no answer"

    def take(self, chunk: dict[str, Any]) -> bool:
        if "error" in chunk:
            error = chunk["error"]
            self.tokens, self.context = error.get("n_prompt_tokens"), error.get("n_ctx")
            self.message = one_line(str(error.get("message")))
        elif "prompt_progress" in chunk:
            self.tokens = chunk["prompt_progress"]["total"]
        return True


class _ReplyStream(_Stream):
    """Passes the text of a reply to its sink."""

    def __init__(self, sink: ReplySink) -> None:
        super().__init__()
        self._sink = sink
        self._input_tokens = 0
        self._processed = 0
        self._output_tokens = 0
        self._finish: Finish | None = None

    def take(self, chunk: dict[str, Any]) -> bool:
        if "error" in chunk:
            raise EngineError(one_line(str(chunk["error"].get("message"))))
        if self._finish is None and self._sink.cancelled():
            self._finish = "cancelled"
            return True
        if progress := chunk.get("prompt_progress"):
            self._input_tokens = progress["total"]
            self._processed = progress.get("processed", 0)
        if timings := chunk.get("timings"):
            self._output_tokens = timings["predicted_n"]
        for choice in chunk["choices"]:
            delta = choice["delta"]
            thought, text = delta.get("reasoning_content"), delta.get("content")
            if thought:
                self._sink.thought(thought)
            if text:
                self._sink.token(text)
            elif not thought:  # a batch of the prompt, or a token without text
                self._sink.progress(self._processed, self._input_tokens)
            if choice["finish_reason"] is not None:
                self._finish = "length" if choice["finish_reason"] == "length" else "stop"
        return False

    def result(self) -> EngineReply:
        if self._finish is None and not self._sink.cancelled():
            raise EngineError("the model stopped before the end of its reply")
        return EngineReply(self._input_tokens, self._output_tokens, self._finish or "cancelled")


def _weight(message: Message) -> int:
    return len(message["content"].encode()) + _TEMPLATE_TOKENS


def _cut(messages: Sequence[Message], start: int, goal: float) -> int | None:
    """Return the index of the first turn to keep if at least `goal` weight must be removed.

    A turn starts with a user message. If the turns before the last one weigh too little, return the
    start of the last turn; None if no turn starts after `start`.
    """
    found, gone = None, 0
    for i in range(start, len(messages)):
        if messages[i]["role"] == "user" and i > start:
            found = i
            if gone >= goal:
                break
        gone += _weight(messages[i])
    return found
