"""A watched status fits on the screen, however many actors there are."""

import io

import pytest
from rich.console import Console

from callboard.v1.system_pb2 import ActorStatus, ServiceStatus
from callboard_service.terminal.status import render


def shown(rows: int | None) -> list[str]:
    conversations = [
        ActorStatus(name=f"c{n}", type="Conversation", children=[ActorStatus(name=f"t{n}")])
        for n in range(10)
    ]
    sessions = [ActorStatus(name=f"s{n}", type="SessionActor") for n in range(10)]
    directory = ActorStatus(name="Conversation", children=conversations, more_children=90)
    root = ActorStatus(
        name="callboard",
        children=[
            ActorStatus(name="extensions", children=[directory, ActorStatus(name="recovery")]),
            ActorStatus(name="sessions", children=sessions),
        ],
    )
    return drawn(root, rows)


def drawn(root: ActorStatus, rows: int | None) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=80, height=rows or 100, color_system=None)
    console.print(render(ServiceStatus(root=root), rows))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("rows", [24, 40, 60])
def test_a_screen_shows_actors_of_every_kind(rows: int) -> None:
    lines = shown(rows)
    assert len(lines) < rows
    text = "\n".join(lines)
    for kind in ("Conversation", "t0", "recovery", "SessionActor", "more"):
        assert kind in text


def test_a_screen_shows_every_part_of_a_service_with_much_to_do() -> None:
    requests = [ActorStatus(name=f"r{n}") for n in range(10)]
    busy = [ActorStatus(name=f"a{n}", type="SessionActor", children=requests) for n in range(10)]
    parts = ("store", "extensions", "sessions")
    root = ActorStatus(children=[ActorStatus(name=part, children=busy) for part in parts])
    lines = drawn(root, 24)
    assert len(lines) < 24
    for part in parts:
        assert any(part in line for line in lines)
    assert "SessionActor" in lines[-4]


def test_without_a_screen_ten_of_each_are_shown() -> None:
    text = "\n".join(shown(None))
    assert "c9" in text
    assert "s9" in text
    assert "… 90 more" in text
