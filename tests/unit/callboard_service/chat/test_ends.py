"""The end of a turn that cannot be stored at once is stored later, and holds nothing up."""

from collections.abc import AsyncIterator

import pytest

from actors import ActorSystem, Code, Failure
from actors.testing import ManualClock
from callboard_service.backends.echo.backend import EchoBackend
from callboard_service.chat.conversation import RETRY
from tests.support.conversing import Talk, conversing


class Full:
    """A store that cannot end turns while `times` is positive."""

    def __init__(self, backend: EchoBackend) -> None:
        self.times = 0
        self.code = Code.RESOURCE_EXHAUSTED
        self._end = backend.journal.end

    async def end(self, *arguments: object, **named: object) -> None:
        if self.times > 0:
            self.times -= 1
            raise Failure(self.code, "the disk is full", retryable=True)
        await self._end(*arguments, **named)  # type: ignore[arg-type]  # passed on as they came


@pytest.fixture
async def talk(actor_system: ActorSystem) -> AsyncIterator[Talk[EchoBackend]]:
    async with conversing(EchoBackend(lambda line: None), actor_system) as talk:
        yield talk


def filled(talk: Talk[EchoBackend], monkeypatch: pytest.MonkeyPatch, times: int) -> Full:
    full = Full(talk.backend)
    full.times = times
    monkeypatch.setattr(talk.backend.journal, "end", full.end)
    return full


async def test_it_is_stored_with_the_next_message(
    talk: Talk[EchoBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(talk, monkeypatch, 1)
    failure, _ = await talk.failure("one")
    assert failure.message == "the disk is full"
    await talk.all("two")
    assert await talk.kept() == ["one", "> one", "two", "> two"]


async def test_a_message_is_refused_while_it_cannot_be_stored(
    talk: Talk[EchoBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = filled(talk, monkeypatch, 2)
    await talk.failure("one")
    failure, events = await talk.failure("two")
    assert (failure.code, failure.retryable, events) == (Code.RESOURCE_EXHAUSTED, True, [])
    assert full.times == 0
    await talk.all("three")
    assert await talk.kept() == ["one", "> one", "three", "> three"]


async def test_it_is_stored_after_a_while_without_a_message(
    talk: Talk[EchoBackend], monkeypatch: pytest.MonkeyPatch, manual_clock: ManualClock
) -> None:
    filled(talk, monkeypatch, 2)
    await talk.failure("one")
    while await talk.backend.journal.open_turns(talk.conversation):
        await manual_clock.advance(RETRY)
    assert await talk.kept() == ["one", "> one"]


async def test_it_is_given_up_if_the_conversation_is_gone(
    talk: Talk[EchoBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = filled(talk, monkeypatch, 2)
    full.code = Code.FAILED_PRECONDITION
    await talk.failure("one")
    failure, _ = await talk.failure("two")  # the store still has the first turn as running
    assert failure.code is Code.FAILED_PRECONDITION
