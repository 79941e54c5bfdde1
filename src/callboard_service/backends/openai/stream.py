"""The rest of a streamed reply: its events, passed on as their bytes are read."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from actors import Burst, PushSource
from callboard_service.backends.base import Pushed, ReplyEvent
from callboard_service.backends.batches import LARGEST, together
from callboard_service.backends.openai.answer import Answer
from callboard_service.backends.openai.completion import Chunk, Completion
from callboard_service.backends.openai.refusals import Refusals, Refused
from callboard_service.backends.token_text import token_of

if TYPE_CHECKING:
    from callboard_service.backends.openai.api import OpenAITimeouts


class ReplyStream(PushSource[ReplyEvent]):
    """The events of an answer after its first chunk.

    Tokens that were read together come together. Comments and empty chunks keep a reply waiting for
    at most `content` seconds after the last content, or for `farewell` or `doubt` seconds once the
    model has given its reason to end.
    """

    def __init__(
        self, answer: Answer, completion: Completion, patience: "OpenAITimeouts", refusals: Refusals
    ) -> None:
        self._answer = answer
        self._completion = completion
        self._patience = patience
        self._refusals = refusals
        self._now = asyncio.get_running_loop().time
        self._said, self._since = completion.said, self._now()
        self._items: deque[ReplyEvent | Burst[ReplyEvent]] = deque()
        self._refused: Refused | None = None
        self._take: Callable[[Pushed], bool] = _nothing
        self._until: Collection[type] = ()
        self._kept: ReplyEvent | Burst[ReplyEvent] | None = None
        self._enough = False
        """Set once this call of `push` is to return."""

    async def push(
        self, take: Callable[[Pushed], bool], until: Collection[type]
    ) -> ReplyEvent | Burst[ReplyEvent] | None:
        """Pass tokens to `take` as they are read; see PushSource. Raises Refused."""
        self._take, self._until, self._kept, self._enough = take, until, None, False
        while not self._enough and self._pass_on():
            if self._answer.over:
                self._end()
                raise StopAsyncIteration
            await self._answer.more(self._pass_on, self._pass_text, self._silence, self._deadline)
        return self._kept

    def _pass_text(self, text: str) -> bool:
        """Pass on a chunk that is nothing but text; return whether more is to be read.

        Everything before it has been passed on. Raises Refused.
        """
        completion = self._completion
        text = completion.take_text(text)
        self._said, self._since = completion.said, self._now()
        if not text or self._take(token_of(text)):
            return True
        self._enough = True
        return False

    def _pass_on(self) -> bool:
        """Pass on what has been read; return whether more is to be read. Raises Refused."""
        answer, completion = self._answer, self._completion
        while True:
            if not self._items and completion.failure is None and self._refused is None:
                chunk = answer.ready()
                if chunk is None:
                    return True
                if isinstance(chunk, str) and not answer.buffered:  # nearly always
                    if not self._pass_text(chunk):
                        return False
                    continue
                self._fill(chunk)
            while self._items:
                item = self._items.popleft()
                if isinstance(item, Burst) or type(item) in self._until:
                    self._kept, self._enough = item, True
                    return False
                if not self._take(item):
                    self._enough = True
                    return False
            if self._refused is not None:
                raise self._refused
            if completion.failure is not None:
                raise completion.failure

    def _fill(self, chunk: Chunk | str) -> None:
        """Take a chunk and those that have been read with it."""
        completion = self._completion
        batch = completion.take(chunk)
        try:
            while len(batch) < LARGEST and completion.failure is None:
                following = self._answer.ready()
                if following is None:
                    break
                batch += completion.take(following)
        except Refused as refused:
            self._refused = refused  # once the events before it have been passed on
        self._items.extend(together(batch))
        if completion.said != self._said:
            self._said, self._since = completion.said, self._now()

    def _limit(self) -> float:
        """Return the seconds to wait for content."""
        if not self._completion.finished:
            return self._patience.content
        return self._patience.doubt if self._completion.doubtful else self._patience.farewell

    def _silence(self) -> float:
        """Return the seconds to wait for data of any kind."""
        return min(self._limit(), self._patience.silence)

    def _deadline(self) -> float:
        """Return when to stop waiting for content, by the event loop's clock."""
        return self._since + self._limit()

    def _end(self) -> None:
        """Raise Refused unless the answer has ended as it should."""
        if self._completion.finished:
            return
        # Some servers end with only [DONE], or after the announced content length.
        if self._answer.broken is not None:
            late = self._now() >= self._deadline()
            raise self._refusals.no_content(self._limit()) if late else self._answer.broken
        if not self._completion.said:
            raise self._refusals.empty()


def _nothing(event: Pushed) -> bool:
    raise AssertionError(event)
