"""Requests of a session begin in the order in which they arrive, whatever their kind."""

from collections.abc import AsyncIterator, Iterator
from itertools import permutations
from typing import ClassVar

import pytest

from actors import RequestActor, StreamActor
from actors.requests.request import AnyHandler
from actors.testing import settle
from tests.support.session_kit import Service, Text, client_of


class Noting(AnyHandler):
    """Notes the texts of requests as they begin."""

    begun: ClassVar[list[str]] = []

    def note(self) -> None:
        assert isinstance(self.request, Text)
        self.begun.append(self.request.text)


class Coroutine(Noting, RequestActor[Text, Text]):
    async def handle(self, request: Text) -> Text:
        self.note()
        return request


class PlainText(Text):
    pass


class Plain(Noting, RequestActor[PlainText, Text]):
    def handle(self, request: PlainText) -> Text:
        self.note()
        return request


class StreamedText(Text):
    pass


class Streamed(Noting, StreamActor[StreamedText, Text]):
    async def handle(self, request: StreamedText) -> AsyncIterator[Text]:
        self.note()
        yield request


@pytest.fixture(autouse=True, params=[True, False], ids=["spare", "own"])
def begun(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Run each test with spare tasks and without; yield what `Noting` notes."""
    monkeypatch.setattr("actors.sessions.execution.STEPPED", request.param)
    yield Noting.begun
    Noting.begun.clear()


@pytest.mark.parametrize("order", [*permutations((Text, PlainText, StreamedText))])
async def test_requests_begin_in_the_order_in_which_they_arrive(
    service: Service, begun: list[str], order: tuple[type[Text], ...]
) -> None:
    client = await client_of(service, Coroutine)
    service.registry.register(PlainText, Plain)
    service.registry.register(StreamedText, Streamed)
    for number, kind in enumerate(order * 2):
        client.request(kind(str(number)))
    await settle()
    assert begun == [str(number) for number in range(6)]
