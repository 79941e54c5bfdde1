"""The backend `openai`: conversations with the models of any server with OpenAI's API."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    wait_exponential,
    wait_random,
)

from actors import Burst, ChildSpec, Code, Failure, Log
from callboard.v1.chat_pb2 import ChatNotice
from callboard_service.backends.base import Health, Prompt, ReplyEvent
from callboard_service.backends.batches import LARGEST, together
from callboard_service.backends.fair import FairPlaces, Ticket
from callboard_service.backends.openai.answer import Answer
from callboard_service.backends.openai.api import (
    CONNECTIONS,
    DEFAULT_TIMEOUTS,
    Api,
    ModelServer,
    OpenAITimeouts,
)
from callboard_service.backends.openai.completion import Chunk, Completion, says_something
from callboard_service.backends.openai.fitting import Fitting
from callboard_service.backends.openai.lookout import HttpSession
from callboard_service.backends.openai.models import Models
from callboard_service.backends.openai.refusals import Refused
from callboard_service.backends.stored import DATABASE, StoredConversations, left_out
from callboard_service.store.store import RecentTurns

SMALL_PROMPT: Final = 256 * 1024
"""Bytes of conversation text that is sent without waiting for one of LARGE_AT_ONCE places."""

LARGEST_PROMPT: Final = 8 * 1024 * 1024
"""Maximum bytes of conversation text that is sent; no model has a context for more."""

LARGE_AT_ONCE: Final = 3
"""Larger prompts that are sent concurrently, each until its answer begins."""

TRIES: Final = 5
"""How often a request is sent if nothing of its reply has come, over some seven seconds."""

MAX_WAITING: Final = 256
"""Maximum replies of one session that wait for a connection."""

MAX_PAUSE: Final = 10.0
"""Seconds; if a server asks for a longer pause, the request fails and its client is told."""

_UNUSABLE: Final = frozenset(
    {
        Code.UNAVAILABLE,
        Code.DEADLINE_EXCEEDED,
        Code.UNAUTHENTICATED,
        Code.PERMISSION_DENIED,
        Code.FAILED_PRECONDITION,
    }
)
_AWAY: Final = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})
_BACKOFF: Final = wait_exponential(multiplier=0.5, max=8.0) + wait_random(0.0, 0.25)


class Started:
    """An answer whose first chunk has arrived."""

    def __init__(self, answer: Answer, first: Chunk) -> None:
        self.answer = answer
        self.first = first


class OpenAIBackend(StoredConversations):
    """Conversations with one server; each reply is one streamed HTTP answer.

    pause: sleeps for the given seconds before a retry. connections: the number of concurrent
    replies, shared fairly among client sessions.
    """

    name = "openai"

    def __init__(
        self,
        server: ModelServer,
        data_folder: Path,
        log: Log,
        report: Callable[[str], None],
        *,
        patience: OpenAITimeouts = DEFAULT_TIMEOUTS,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        connections: int = CONNECTIONS,
    ) -> None:
        super().__init__(data_folder / DATABASE, report)
        self._server = server
        self._log = log
        self._patience = patience
        self._pause = pause
        self._api: Api | None = None
        self._models: Models | None = None
        self._trouble = ""
        self._away = False
        self._places = FairPlaces(connections, max_waiting=MAX_WAITING, spare=2)
        self._fitting = Fitting()
        self._large = FairPlaces(LARGE_AT_ONCE, max_waiting=MAX_WAITING)

    def spec(self) -> ChildSpec:
        """Return the actor that owns the HTTP session."""
        return ChildSpec("http", lambda: HttpSession(self))

    def health(self) -> Health:
        """Return ready unless the server was unusable when it was last asked."""
        if self._api is None:
            return Health(False, "not connected")
        detail = self._trouble or "ready, as far as known"
        return Health(self.is_open and not self._trouble, f"{self._api.origin}: {detail}")

    async def connect(self) -> None:
        """Open the HTTP session. A server that cannot list its models only causes a warning."""
        self._api = Api(self._server, self._log, self._patience)
        self._models = Models(self._api, self._server.model, self._log)
        if self._api.exposes_key:
            self._log.warning("the key goes to the model server without encryption")
        try:
            await self._models.first_look()
        except Failure as failure:
            self._note(failure)
            self._log.warning("models not listed", code=failure.code.value, reason=failure.message)

    async def look_again(self) -> None:
        """Ask the server again if it could not be reached the last time."""
        if self._away and self._models is not None:
            try:
                await self._models.refresh()
            except Failure as failure:
                self._note(failure)
            else:
                self._note(None)

    async def disconnect(self) -> None:
        """Close the HTTP session."""
        api, self._api, self._models = self._api, None, None
        if api is not None:
            await api.close()

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]:
        """Have the model continue the conversation."""
        api, models = self._api, self._models
        if api is None or models is None:
            raise Failure(Code.UNAVAILABLE, "the model server is not connected", retryable=True)
        ticket = self._places.enter(prompt.session)
        completion = Completion(api.refusals)
        try:
            async with aclosing(ticket.turn()) as waiting:
                async for notice in waiting:
                    yield notice
            async with aclosing(self._complete(api, models, prompt, completion)) as events:
                async for event in events:
                    yield event
        except Refused as refused:
            if refused.too_long:
                name = prompt.conversation_id
                self._fitting.halve(name, await self.turns(name, SMALL_PROMPT))
            raise
        finally:
            ticket.leave()

    async def _complete(
        self, api: Api, models: Models, prompt: Prompt, completion: Completion
    ) -> AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]:
        """Yield the reply's events until `completion` is complete. Raises Failure."""
        model = prompt.model or await models.default()
        answer: Answer | None = None
        first: Chunk = {}
        try:
            async with aclosing(self._send(api, model, prompt)) as beginning:
                async for step in beginning:
                    if isinstance(step, Started):
                        answer, first = step.answer, step.first
                    else:
                        yield step
            assert answer is not None
            for event in completion.take(first):
                yield event
            if completion.failure is not None:
                raise completion.failure
            async with aclosing(self._rest(api, answer, completion)) as rest:
                async for batch in rest:
                    yield batch
        finally:
            if answer is not None:
                answer.close()
        for event in completion.end(models.context(model)):
            yield event

    async def _send(
        self, api: Api, model: str, prompt: Prompt
    ) -> AsyncGenerator[ChatNotice | Started, None]:
        """Send the conversation, and yield the answer once its first chunk has arrived.

        A prompt takes several times its size in memory, so few large ones are sent at once.
        """
        name = prompt.conversation_id
        turns = await self.turns(name, self._fitting.bytes_of(name, SMALL_PROMPT))
        ticket: Ticket | None = None
        try:
            if turns.left_out and name not in self._fitting:
                ticket = self._large.enter(prompt.session)
                async with aclosing(ticket.turn()) as waiting:
                    async for notice in waiting:
                        yield notice
                turns = await self.turns(name, LARGEST_PROMPT)
            if turns.left_out:
                yield left_out(turns.left_out)
            async with aclosing(self._fit(api, model, name, turns)) as beginning:
                async for step in beginning:
                    yield step
        finally:
            if ticket is not None:
                ticket.leave()

    async def _fit(
        self, api: Api, model: str, name: str, turns: RecentTurns
    ) -> AsyncGenerator[ChatNotice | Started, None]:
        """Send the turns; leave out older ones until the rest fits into the model's context."""
        while True:
            try:
                async with aclosing(self._begin(api, model, _messages(turns))) as beginning:
                    async for step in beginning:
                        yield step
            except Refused as refused:
                if not refused.too_long or len(turns) < 2:
                    raise
            else:
                return
            turns = self._fitting.halve(name, turns)
            yield left_out(turns.left_out)

    async def _rest(
        self, api: Api, answer: Answer, completion: Completion
    ) -> AsyncGenerator[ReplyEvent | Burst[ReplyEvent], None]:
        """Yield the events after the first chunk; tokens that were read together come together.

        Comments and empty chunks keep a reply waiting for at most `content` seconds after the last
        content, or for `farewell` or `doubt` seconds once the model has given its reason to end.
        """
        patience, now = self._patience, asyncio.get_running_loop().time
        said, since = completion.said, now()
        while True:
            limit = patience.content
            if completion.finished:
                limit = patience.doubt if completion.doubtful else patience.farewell
            silence = min(limit, patience.silence)
            chunk = await answer.next(silence, since + limit)
            if chunk is None:
                break
            batch = completion.take(chunk)
            refused = _take_ready(answer, completion, batch)
            for event in together(batch):
                yield event
            if refused is not None:
                raise refused
            if completion.failure is not None:
                raise completion.failure
            if completion.said != said:
                said, since = completion.said, now()
        if completion.finished:
            return
        # Some servers end with only [DONE], or after the announced content length.
        if answer.broken is not None:
            raise api.refusals.no_content(limit) if now() >= since + limit else answer.broken
        if not completion.said:
            raise api.refusals.empty()

    async def _begin(
        self, api: Api, model: str, messages: Sequence[dict[str, str]]
    ) -> AsyncGenerator[ChatNotice | Started, None]:
        """Try until the reply begins, with a notice before each retry that has a new cause."""
        tries = AsyncRetrying(
            sleep=self._pause,
            stop=self._is_enough,
            wait=_pause_before_next,
            retry=retry_if_exception(_is_worth_another),
            reraise=True,
        )
        started: Started | None = None
        told = ""
        async for attempt in tries:
            with attempt:
                started = await self._start(api, model, messages)
            failure = _failure_of(attempt.retry_state)
            if failure is None or self._is_enough(attempt.retry_state):
                continue
            if _is_worth_another(failure) and failure.message != told:
                told = failure.message
                yield ChatNotice(message=f"Retrying: {failure.message}.")
        if started is not None:
            yield started

    def _is_enough(self, state: RetryCallState) -> bool:
        """Return whether to give up: after TRIES, or after `loading` seconds of model loading."""
        failure = _failure_of(state)
        if failure is not None and failure.loading:
            return (state.seconds_since_start or 0.0) > self._patience.loading
        return state.attempt_number >= TRIES

    async def _start(self, api: Api, model: str, messages: Sequence[dict[str, str]]) -> Started:
        try:
            answer = await api.complete(model, messages)
        except Failure as failure:
            self._note(failure)
            if failure.code is Code.NOT_FOUND and self._models is not None:
                failure.message += self._models.hint(model)
            raise
        self._note(None)
        try:
            limit, now = self._patience.content, asyncio.get_running_loop().time
            until = now() + limit
            first = await answer.next(self._patience.silence, until)
            while first is not None and not says_something(first):
                first = await answer.next(self._patience.silence, until)
            if first is None:
                late = now() >= until
                raise (
                    api.refusals.no_content(limit)
                    if late
                    else answer.broken or api.refusals.empty()
                )
        except BaseException:
            answer.close()
            raise
        return Started(answer, first)

    def _note(self, failure: Failure | None) -> None:
        """Update the state for `health`; a failure of a single request says nothing about it."""
        self._away = failure is not None and failure.code in _AWAY
        if failure is None:
            self._trouble = ""
        elif failure.code in _UNUSABLE:
            self._trouble = failure.message


def _take_ready(answer: Answer, completion: Completion, batch: list[ReplyEvent]) -> Refused | None:
    """Add the events of the chunks that have been read; return what a chunk was refused with."""
    try:
        while len(batch) < LARGEST and completion.failure is None:
            chunk = answer.ready()
            if chunk is None:
                break
            batch += completion.take(chunk)
    except Refused as refused:
        return refused
    return None


def _messages(turns: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Return the turns in the form of the API."""
    return [{"role": role, "content": text} for role, text in turns]


def _failure_of(state: RetryCallState) -> Refused | None:
    error = state.outcome.exception() if state.outcome is not None else None
    return error if isinstance(error, Refused) else None


def _is_worth_another(error: BaseException) -> bool:
    return isinstance(error, Refused) and error.again and error.retry_after_ms <= MAX_PAUSE * 1000


def _pause_before_next(state: RetryCallState) -> float:
    failure = _failure_of(state)
    if failure is not None and failure.retry_after_ms:
        return failure.retry_after_ms / 1000
    return _BACKOFF(state)
