"""Fixtures: a followed conversation on a screen, and its keyboard."""

import io
from collections.abc import AsyncIterator, Iterator

import pytest
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from callboard_service.terminal.interrupts import Interrupts
from callboard_service.terminal.prompts import Prompts
from callboard_service.terminal.view import Screen, make_console
from tests.support.scripted_websocket import ScriptedDialer
from tests.unit.callboard_service.terminal.stage import Stage
from transport.client import Client, by_url


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    with create_pipe_input() as pipe:
        yield pipe


@pytest.fixture
def prompts(keyboard: PipeInput) -> Prompts:
    return Prompts(InMemoryHistory(), input=keyboard, output=DummyOutput())


@pytest.fixture
async def stage(keyboard: PipeInput, prompts: Prompts) -> AsyncIterator[Stage]:
    dialer = ScriptedDialer()
    out = io.StringIO()
    async with Client(by_url("ws://stage", ""), dialer=dialer) as client:
        await dialer.last.sent.get()  # the Hello
        with Interrupts() as interrupts:
            screen = Screen(make_console(out))
            made = Stage(dialer.last, client, out, screen, interrupts, prompts, keyboard)
            yield made
