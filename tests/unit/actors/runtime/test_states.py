"""The table of an actor's states is complete, and the cell follows it."""

import pytest

from actors import Actor, ActorSystem
from actors.runtime.states import TRANSITIONS, State, Trigger


def reached(start: State) -> set[State]:
    found, new = {start}, {start}
    while new:
        new = {after for state in new for after in TRANSITIONS[state].values()} - found
        found |= new
    return found


def test_every_state_is_reached_and_leads_to_the_end() -> None:
    assert reached(State.STARTING) == set(State) == set(TRANSITIONS)
    assert all(State.STOPPED in reached(state) for state in State)


def test_an_actor_that_is_stopping_never_takes_messages_again() -> None:
    assert reached(State.STOPPING) == {State.STOPPING, State.STOPPED}
    assert reached(State.STOPPED) == {State.STOPPED}


class Quiet(Actor[str]):
    def receive(self, message: str) -> None:
        raise AssertionError(message)


async def test_what_is_not_in_the_table_cannot_happen(actor_system: ActorSystem) -> None:
    cell = actor_system.spawn(Quiet)._cell
    assert cell.state is State.RUNNING
    for trigger in (Trigger.READY, Trigger.DUE, Trigger.GONE):
        with pytest.raises(KeyError):
            cell.move(trigger)
    assert cell.state is State.RUNNING
