"""A client of the contract's first version gets from today's service what it got from the first.

`tests/recorded/first_version.txt` holds what the last service of that version answered
(`tools/record_exchange.py`). The client's frames are sent again in the same order, each once
everything has arrived that the first service sent before it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.service_process import ServiceProcess, running
from tests.support.recording import TOKEN, Event, Exchange, Socket, first_version, read
from tests.support.replayed import Names, differences, translated

RECORDING: Final = Path(__file__).parents[1] / "recorded" / "first_version.txt"

ADDED: Final = {
    ("Welcome", 9),  # features
    ("Limits", 12),  # max_answer_bytes
    ("Limits", 13),  # max_queued_turns
    ("ChatCompleted", 3),  # stop_reason
}
"""Fields by number that an old client is sent although its version of the contract lacks them."""

AWAITED: Final = ("←", "closed")
ENDS: Final = ("cut", "closed")
"""Kinds of event that the client waits for, and those that end a connection."""

REWORDED: Final = {
    "the request exceeded its deadline": "the request took longer than it may",
    "That answer is not one of the options; the question is still open.": (
        "That answer is none of the options; the question is still open."
    ),
    "Another reply in this conversation is in progress; this one is waiting for its turn.": (
        "Another reply of this conversation runs; this one waits its turn."
    ),
    "the reply was cut off before it was complete": "the reply was ended before it was complete",
    "too many messages are waiting in this conversation": (
        "too many messages wait in this conversation"
    ),
}
"""Texts for people, today's and the first version's. The codes of errors are the same."""


def as_then(answer: Any) -> None:
    """Undo, in an answer of today's, what was changed on purpose."""
    for message in (answer.error, answer.notice, *(e.error for e in answer.history.entries)):
        if message.message in REWORDED:
            message.message = REWORDED[message.message]
    if answer.HasField("history"):
        entries = list(arranged(answer.history.entries))
        del answer.history.entries[:]
        answer.history.entries.extend(entries)


def arranged(entries: Any) -> Iterator[Any]:
    """Arrange a history as the first version did.

    Today a conversation stores what backends yield (ADR 55), in that order: a text that something
    interrupts is several entries. The first version put the tool calls of a reply before its text,
    which was one entry. Today an error also says why a reply failed (CHANGELOG.md); the first
    version kept one only if the reply was cut off.
    """
    for begins, group in groupby(entries, lambda entry: entry.HasField("user_text")):
        if begins:
            yield from group
            continue
        reply = list(group)
        texts = [entry for entry in reply if entry.HasField("assistant_text")]
        yield from (e for e in reply if e.HasField("tool_call") or e.HasField("tool_result"))
        for text in texts[:1]:
            text.assistant_text = "".join(entry.assistant_text for entry in texts)
            yield text
        yield from (entry for entry in reply if entry.error.code == "CANCELLED")


def compared(
    frames: list[Any], received: list[bytes], recorded: Names, replayed: Names
) -> list[str]:
    """Return what differs although nothing here says that it may."""
    return differences(frames, received, recorded, replayed, ADDED, as_then)


class Replay:
    """A client of the first version that repeats one exchange."""

    def __init__(self, service: ServiceProcess, recorded: Names, replayed: Names) -> None:
        self._service = service
        self._recorded = recorded
        self._replayed = replayed
        self._sockets: dict[int, Socket] = {}

    async def run(self, exchange: Exchange) -> list[str]:
        """Send what the client sent, and return how the answers differ."""
        found = []
        self._recorded.exchange = self._replayed.exchange = exchange.title
        try:
            for awaits, events in groupby(exchange.events, lambda event: event.kind in AWAITED):
                if awaits:
                    found += await self._await(list(events))
                else:
                    for event in events:
                        await self._act(event)
            gone = {event.connection for event in exchange.events if event.kind in ENDS}
            for number in self._sockets.keys() - gone:
                found += await self._more(number)
        finally:
            for socket in self._sockets.values():
                await socket.close()
        return found

    async def _act(self, event: Event) -> None:
        match event.kind:
            case "opened":
                self._sockets[event.connection] = await Socket.open(self._service.url)
            case "cut":
                await self._sockets[event.connection].cut()
            case _:
                frame = translated(event.frame, self._recorded, self._replayed)
                if frame.hello.token == TOKEN:
                    frame.hello.token = self._service.token
                await self._sockets[event.connection].send(frame)

    async def _await(self, events: list[Event]) -> list[str]:
        """Receive as many frames on each connection as were recorded, and compare them."""
        by_connection: defaultdict[int, list[Event]] = defaultdict(list)
        for event in events:
            by_connection[event.connection].append(event)
        found = []
        for number, expected in by_connection.items():
            received = await self._received(number, len(expected))
            codes = [event.code for event in expected if event.kind == "closed"]
            if codes != [code for code in received if isinstance(code, int)]:
                found.append(f"not closed with {codes} only: {received}")
            frames = [event.frame for event in expected if event.kind == "←"]
            answers = [data for data in received if isinstance(data, bytes)]
            found += compared(frames, answers, self._recorded, self._replayed)
        return found

    async def _more(self, number: int) -> list[str]:
        """Return what comes, against the recording, before the answer to a Ping."""
        await self._sockets[number].send(first_version("ClientMessage")(ping={"nonce": 1}))
        (data,) = await self._received(number, 1)
        pong = first_version("ServerMessage")(pong={"nonce": 1}).SerializeToString()
        return [] if data == pong else [f"one more: {data!r}"]

    async def _received(self, number: int, count: int) -> list[bytes | int]:
        received: list[bytes | int] = []
        try:
            async with asyncio.timeout(20):
                while len(received) < count:
                    received.append(await self._sockets[number].receive())
        except TimeoutError:
            pytest.fail(f"of {count} frames only {len(received)} came: {received}")
        return received


def recorded_answers(title: str) -> list[Any]:
    """Return the service's frames of an exchange."""
    (exchange,) = (e for e in read(RECORDING.read_text("utf-8")) if e.title == title)
    return [event.frame for event in exchange.events if event.kind == "←"]


def test_a_changed_a_lost_and_a_swapped_frame_and_a_new_field_are_noticed() -> None:
    frames = recorded_answers("a reply")
    sent = [frame.SerializeToString() for frame in frames]
    token = next(number for number, data in enumerate(sent) if data.endswith(b" two"))
    renamed = [data.replace(frames[1].session_info.id.encode(), b"0" * 32) for data in sent]
    extended = sent[token].replace(b"\x06\n\x04 two", b"\x08\n\x04 two\x10\x01")

    def noticed(received: list[bytes]) -> bool:
        return compared(frames, received, Names(), Names()) != []

    assert not noticed(sent)
    assert not noticed(renamed)
    assert noticed([sent[0], renamed[1], *sent[2:]])
    assert noticed([data.replace(b" two", b" too") for data in sent])
    assert noticed([*sent[:token], extended, *sent[token + 1 :]])
    assert noticed(sent[:token] + sent[token + 1 :])
    assert noticed([*sent[: token - 1], sent[token], sent[token - 1], *sent[token + 1 :]])


async def test_an_old_client_gets_what_the_first_version_sent(tmp_path: Path) -> None:
    recorded, replayed, found = Names(), Names(), {}
    with running(tmp_path, "--backend", "echo") as service:
        for exchange in read(RECORDING.read_text("utf-8")):
            found[exchange.title] = await Replay(service, recorded, replayed).run(exchange)
    assert {title: lines for title, lines in found.items() if lines} == {}
    assert len(found) == 18
