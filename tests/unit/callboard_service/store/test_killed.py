"""A process that is killed between any two statements of a send, and the same message again."""

import random

from callboard.v1.chat_pb2 import HistoryEntry, TurnState
from callboard_service.store.store import ConversationStore
from tests.support.store_kit import Stores, run

MESSAGES, LIVES = 6, 6
"""How many messages are sent, and how often the process is started for each."""

STATEMENTS = 75
"""More than a send has, from the opening of the database to the end of the turn."""

_SEND = """
from callboard.v1.chat_pb2 import ChatCompleted, TurnState

statements = 0

def this_one():
    global statements
    statements += 1
    return statements == LAST

die_at("", this_one)

async def main():
    store = await opened()
    say(store.run)
    for turn in await store.open_turns("c1"):
        await store.interrupt("c1", turn.id)
    new = NewTurn(f"t{store.run}", "hello", "m1", starts=True)
    admission = await store.admit("c1", new)
    turn = admission.turn.id
    if not admission.repeated:
        await store.add_pieces("c1", turn, [HistoryEntry(assistant_text="wor")])
        await store.add_pieces("c1", turn, [HistoryEntry(assistant_text="ld")])
        entries = [HistoryEntry(assistant_text="world")]
        state = TurnState.TURN_STATE_COMPLETED
        await store.end("c1", turn, state, entries, completed=ChatCompleted(), error=None)
    say("done")
"""


async def _check(store: ConversationStore, said: list[str]) -> None:
    """The message is there once, as one turn, with what was kept of its reply."""
    entries = list((await store.history("c1")).entries)
    turn = await store.find_turn("c1", message_id="m1")
    users = [entry for entry in entries if entry.HasField("user_text")]
    assert [entry.turn_id for entry in users] == ([] if turn is None else [turn.id])
    if turn is None:
        assert entries == []
    elif turn.state == TurnState.TURN_STATE_COMPLETED:
        assert [_text(entry) for entry in entries] == ["hello", "world"]
        assert entries[-1].HasField("completed")
    elif turn.state == TurnState.TURN_STATE_INTERRUPTED:
        texts = [_text(entry) for entry in entries]
        assert texts in (["hello", ""], ["hello", "wor", ""], ["hello", "world", ""])
        assert entries[-1].error.code == "ABORTED"
    else:
        assert turn.state == TurnState.TURN_STATE_RUNNING
        assert len(entries) == 1
    if "done" in said:
        assert turn is not None
        assert turn.state in (TurnState.TURN_STATE_COMPLETED, TurnState.TURN_STATE_INTERRUPTED)


def _text(entry: HistoryEntry) -> str:
    return entry.user_text or entry.assistant_text


async def _create(stores: Stores) -> int:
    """Create the conversation c1 and return the run number."""
    store = await ConversationStore.open(stores.path, report=print, new_id=lambda: "c1")
    await store.create("")
    await store.close()
    return store.run


async def test_a_message_sent_again_after_a_kill_is_there_once(stores: Stores) -> None:
    """Whenever the process is killed, one user entry is kept, and no run number comes again."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    dying = random.Random(seed)
    killed, folder = 0, stores.path.parent
    for number in range(MESSAGES):
        stores.path = folder / str(number) / "conversations.db"
        runs = [await _create(stores)]
        for _ in range(LIVES):
            last = dying.randrange(1, STATEMENTS)
            code, said = run(stores.path, f"LAST = {last}\n{_SEND}")
            assert code in (0, -9)
            killed += code != 0
            runs += map(int, said[:1])
            store = await stores.open()
            runs.append(store.run)
            await _check(store, said)
            await store.close()
        assert runs == sorted(set(runs)), "a run number came again"
    assert killed > MESSAGES
