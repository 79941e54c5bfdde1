"""The backend `openai`: conversations with the models of any server with OpenAI's API."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from actors import ChildSpec, Code, Failure, Log
from callboard.v1.chat_pb2 import Attachment, ChatNotice, OptionList
from callboard_service.backends.base import Health, Prompt, Reply
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
from callboard_service.backends.openai.models import MODEL, Models
from callboard_service.backends.openai.parts import Message, check, judging_images, messages_of
from callboard_service.backends.openai.refusals import Refused
from callboard_service.backends.openai.retries import (
    failure_of,
    is_worth_another,
    pause_before_next,
)
from callboard_service.backends.openai.stream import ReplyStream
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
    features: Collection[str] = ("fork", "images", "options", "search", "uploads")

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

    def prompt_bytes(self, conversation_id: str) -> int:
        """Return how much of the conversation is sent at first."""
        return self._fitting.bytes_of(conversation_id, SMALL_PROMPT)

    def check_attachments(self, attachments: Sequence[Attachment]) -> None:
        """Raise Failure, INVALID_ARGUMENT, for anything but text and images, or too much."""
        check(attachments)

    async def options(self, conversation_id: str) -> OptionList:
        """Return the models that the server lists. Raises Failure: NOT_FOUND."""
        chosen = await self.journal.choices(conversation_id) if conversation_id else {}
        if self._models is None:
            return OptionList()
        return OptionList(options=[await self._models.option(chosen.get(MODEL, ""))])

    async def set_option(self, conversation_id: str, option_id: str, value: str) -> OptionList:
        """Choose the model. Raises Failure: INVALID_ARGUMENT for one that the server lacks."""
        if option_id != MODEL:
            raise Failure(Code.INVALID_ARGUMENT, f"there is no option {option_id[:80]!r}")
        if self._models is None or not await self._models.offers(value):
            raise Failure(Code.INVALID_ARGUMENT, f"the server lists no model {value[:80]!r}")
        await self.write(lambda store: store.choose(conversation_id, option_id, value))
        return await self.options(conversation_id)

    async def reply(self, prompt: Prompt) -> AsyncGenerator[Reply, None]:
        """Have the model continue the conversation."""
        api, models = self._api, self._models
        if api is None or models is None:
            raise Failure(Code.UNAVAILABLE, "the model server is not connected", retryable=True)
        ticket = self._places.enter(prompt.session)
        completion = Completion(api.refusals)
        name = prompt.conversation_id
        try:
            if not ticket.holds:
                async with aclosing(ticket.turn()) as waiting:
                    async for notice in waiting:
                        yield notice
            model = prompt.model or prompt.choices.get(MODEL) or await models.default()
            begun: Started | None = None
            try:
                turns = prompt.recent or await self.turns(name, self.prompt_bytes(name))
                failed: list[Refused] = []
                begun = await self._send_small(api, model, turns, failed)
                if begun is None:
                    async with aclosing(self._send(api, model, prompt, turns, failed)) as beginning:
                        async for step in beginning:
                            if isinstance(step, Started):
                                begun = step
                            else:
                                yield step
                assert begun is not None
                for event in completion.take(begun.first):
                    yield event
                if completion.failure is not None:
                    raise completion.failure
                yield ReplyStream(begun.answer, completion, self._patience, api.refusals)
            finally:
                if begun is not None:
                    begun.answer.close()
            for event in completion.end(models.context(model)):
                yield event
        except Refused as refused:
            if refused.too_long:
                self._fitting.halve(name, await self.turns(name, SMALL_PROMPT))
            raise
        finally:
            ticket.leave()

    async def _send_small(
        self, api: Api, model: str, turns: RecentTurns, failed: list[Refused]
    ) -> Started | None:
        """Send a conversation, and return the answer once its first chunk has arrived.

        Nearly every reply begins so. Returns None if it is left to `_send`, which can wait for a
        place and give notices; a refusal is then added to `failed`.
        """
        if turns.left_out or sum(turns.sizes()) > SMALL_PROMPT:
            return None
        try:
            return await self._start(api, model, await messages_of(turns, self.attachments.read))
        except Refused as refused:
            failed.append(refused)
            return None

    async def _send(
        self,
        api: Api,
        model: str,
        prompt: Prompt,
        turns: RecentTurns,
        failed: list[Refused],
    ) -> AsyncGenerator[ChatNotice | Started, None]:
        """Send the conversation, and yield the answer once its first chunk has arrived.

        A prompt takes several times its size in memory, so few large ones are sent at once.
        failed: how the first try ended, if there was one; it is taken from the list, since a frame
        that keeps an error that it has raised is a reference cycle.
        """
        name = prompt.conversation_id
        ticket: Ticket | None = None
        try:
            fitted = name in self._fitting
            if sum(turns.sizes()) > SMALL_PROMPT or (turns.left_out and not fitted):
                ticket = self._large.enter(prompt.session)
                async with aclosing(ticket.turn()) as waiting:
                    async for notice in waiting:
                        yield notice
                if not fitted:
                    turns = await self.turns(name, LARGEST_PROMPT)
            if turns.left_out:
                yield left_out(turns.left_out)
            async with aclosing(self._fit(api, model, name, turns, failed)) as beginning:
                async for step in beginning:
                    yield step
        finally:
            if ticket is not None:
                ticket.leave()

    async def _fit(
        self, api: Api, model: str, name: str, turns: RecentTurns, failed: list[Refused]
    ) -> AsyncGenerator[ChatNotice | Started, None]:
        """Send the turns; leave out older ones until the rest fits into the model's context."""
        while True:
            try:
                messages = await messages_of(turns, self.attachments.read)
                async with aclosing(self._begin(api, model, messages, failed)) as beginning:
                    async for step in beginning:
                        yield step
            except Refused as refused:
                if not refused.too_long or len(turns) < 2:
                    raise
            else:
                return
            turns = self._fitting.halve(name, turns)
            yield left_out(turns.left_out)

    async def _begin(
        self, api: Api, model: str, messages: Sequence[Message], failed: list[Refused]
    ) -> AsyncGenerator[ChatNotice | Started, None]:
        """Try until the reply begins, with a notice before each retry that has a new cause.

        failed: see `_send`.
        """
        tries = AsyncRetrying(
            sleep=self._pause,
            stop=self._is_enough,
            wait=pause_before_next,
            retry=retry_if_exception(is_worth_another),
            reraise=True,
        )
        started: Started | None = None
        told = ""
        async for attempt in tries:
            with attempt:
                if failed:
                    raise failed.pop()
                started = await self._start(api, model, messages)
            failure = failure_of(attempt.retry_state)
            if failure is None or self._is_enough(attempt.retry_state):
                continue
            if is_worth_another(failure) and failure.message != told:
                told = failure.message
                yield ChatNotice(message=f"Retrying: {failure.message}.")
        if started is not None:
            yield started

    def _is_enough(self, state: RetryCallState) -> bool:
        """Return whether to give up: after TRIES, or after `loading` seconds of model loading."""
        failure = failure_of(state)
        if failure is not None and failure.loading:
            return (state.seconds_since_start or 0.0) > self._patience.loading
        return state.attempt_number >= TRIES

    async def _start(self, api: Api, model: str, messages: Sequence[Message]) -> Started:
        try:
            with judging_images(messages):
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
            with judging_images(messages):
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
