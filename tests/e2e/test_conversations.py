"""A conversation owns its turns: many clients follow it, and a message is admitted once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.contract_client import Contract, message, text_of
from tests.e2e.service_process import ServiceProcess


@pytest.fixture
async def other(shared: ServiceProcess) -> AsyncIterator[Contract]:
    """Another client of the shared service, which knows turns."""
    async with shared.connect(features=["follow"]) as client:
        yield client


async def follow(client: Contract, conversation: str, after: int = 0) -> int:
    request = message("FollowSessionRequest", session_id=conversation, after=after)
    return await client.open(follow_session=request)


async def event(client: Contract, request_id: int) -> Any:
    """Return the next event of a followed conversation."""
    answer = await client.queue(request_id).get()
    assert answer is not None, "the connection ended"
    assert answer.WhichOneof("payload") == "event", answer
    return answer.event


async def until(client: Contract, request_id: int, kind: str) -> list[Any]:
    """Return the events up to the first one of this kind."""
    events: list[Any] = []
    while not events or events[-1].WhichOneof("event") != kind:
        events.append(await event(client, request_id))
    return events


def sending(conversation: str, text: str, **fields: Any) -> dict[str, Any]:
    request = message("SendMessageRequest", session_id=conversation, text=text, **fields)
    return {"send_message": request}


async def test_a_follower_sees_a_turn_from_its_message_to_its_end(
    client: Contract, other: Contract
) -> None:
    conversation = await client.conversation("about")
    following = await follow(other, conversation)
    first = await event(other, following)
    assert first.snapshot.info.title == "about"
    assert (list(first.snapshot.turns), first.snapshot.last_entry) == ([], "")
    await client.reply(conversation, "one two three")
    events = await until(other, following, "completed")
    assert [e.WhichOneof("event") for e in events if not e.HasField("token")] == [
        "turn", "turn", "completed",
    ]  # fmt: skip
    assert events[0].turn.text == "one two three"
    assert "".join(e.token.text for e in events) == "one two three"
    assert len({e.turn_id for e in events}) == 1
    positions = [first.position, *(e.position for e in events)]
    assert positions == sorted(set(positions))
    info = await event(other, following)
    assert info.info.title == "about"


async def test_a_follower_that_joins_in_the_middle_gets_the_text_so_far(
    client: Contract, other: Contract
) -> None:
    conversation = await client.conversation()
    say = await client.say(conversation, "[[delay:0]][[repeat:40]][[ask:question]]x y z")
    ask = await _ask(client, say)
    following = await follow(other, conversation)
    first = await event(other, following)
    (turn,) = first.snapshot.turns
    assert turn.info.state == 3  # waiting
    kinds = [e.WhichOneof("event") for e in turn.events]
    assert kinds == ["token", "ask"]
    assert turn.events[0].token.text == "".join(f"{n:03} " for n in range(40))
    await client.send(say, answer=message("AnswerRequest", ask_id=ask, answers=["yes"]))
    events = await until(other, following, "completed")
    assert "".join(e.token.text for e in events) == "x y z"


async def test_a_follower_continues_after_a_position_without_a_gap(
    client: Contract, other: Contract
) -> None:
    conversation = await client.conversation()
    following = await follow(other, conversation)
    await event(other, following)
    await client.reply(conversation, "a b c d")
    events = await until(other, following, "completed")
    await other.send(following, cancel=message("CancelRequest"))
    again = await follow(other, conversation, after=events[0].position)
    missed = await until(other, again, "completed")
    assert "".join(e.token.text for e in missed) == "a b c d"
    assert missed[-1].position == events[-1].position


async def test_following_an_unknown_conversation_is_not_found(other: Contract) -> None:
    answer = await other.call(follow_session=message("FollowSessionRequest", session_id="none"))
    assert answer.error.code == "NOT_FOUND"


async def test_following_ends_when_the_conversation_is_deleted(
    client: Contract, other: Contract
) -> None:
    conversation = await client.conversation()
    following = await follow(other, conversation)
    await event(other, following)
    await client.call(delete_session=message("DeleteSessionRequest", session_id=conversation))
    answers = await other.all(following)
    assert answers[-1].error.code == "NOT_FOUND"


async def test_a_message_sent_again_is_answered_with_the_turn_that_it_started(
    client: Contract, other: Contract
) -> None:
    conversation = await client.conversation()
    first = await client.all(await client.open(**sending(conversation, "a b", message_id="m")))
    assert [a.turn.state for a in first if a.HasField("turn")] == [2, 4]
    again = await other.all(await other.open(**sending(conversation, "other", message_id="m")))
    assert text_of(again) == "a b"
    assert again[0].turn.id == first[0].turn.id
    assert again[-1].completed == first[-1].completed
    history = await client.call(get_history=message("GetHistoryRequest", session_id=conversation))
    assert [e.user_text for e in history.history.entries if e.user_text] == ["a b"]


async def test_a_message_sent_twice_at_once_runs_once(client: Contract, other: Contract) -> None:
    conversation = await client.conversation()
    said = sending(conversation, "[[delay:1]]a b c", message_id="m")
    ids = [await one.open(**said) for one in (client, other)]
    both = await asyncio.gather(client.all(ids[0]), other.all(ids[1]))
    assert [text_of(answers) for answers in both] == ["a b c", "a b c"]
    assert both[0][0].turn.id == both[1][0].turn.id


async def test_a_failed_turn_is_replaced_by_a_new_message(client: Contract) -> None:
    conversation = await client.conversation()
    failing = sending(conversation, "a [[error:UNAVAILABLE]]", message_id="1")
    failed = await client.all(await client.open(**failing))
    assert failed[-1].error.code == "UNAVAILABLE"
    fields = {"message_id": "2", "replaces": failed[0].turn.id}
    good = await client.all(await client.open(**sending(conversation, "b", **fields)))
    assert text_of(good) == "b"
    history = await client.call(get_history=message("GetHistoryRequest", session_id=conversation))
    said = [e.user_text or e.assistant_text for e in history.history.entries]
    assert said == ["b", "b"]
    fields = {"message_id": "3", "replaces": good[0].turn.id}
    refused = await client.all(await client.open(**sending(conversation, "c", **fields)))
    assert refused[-1].error.code == "FAILED_PRECONDITION"


@pytest.mark.parametrize("how", ["cancel", "leave"])
async def test_a_turn_that_is_not_detached_ends_with_its_only_sender(
    shared: ServiceProcess, other: Contract, how: str
) -> None:
    async with shared.connect() as client:
        conversation = await client.conversation()
        following = await follow(other, conversation)
        await event(other, following)
        say = await client.say(conversation, "a [[delay:3600000]]b")
        await until(other, following, "token")
        if how == "cancel":
            await client.send(say, cancel=message("CancelRequest"))
            assert (await client.all(say))[-1].error.code == "CANCELLED"
    events = await until(other, following, "error")
    assert events[-1].error.code == "CANCELLED"
    assert events[-2].turn.state == 6


async def test_a_detached_turn_goes_on_without_its_sender(
    shared: ServiceProcess, other: Contract
) -> None:
    async with shared.connect() as client:
        conversation = await client.conversation()
        fields = {"message_id": "m", "detached": True}
        say = await client.open(**sending(conversation, "a [[ask:question]] b", **fields))
        ask = await _ask(client, say)
    following = await follow(other, conversation)
    snapshot = (await event(other, following)).snapshot
    assert snapshot.turns[0].info.state == 3
    request = message("AnswerRequest", ask_id=ask, answers=["yes"])
    answer = message("AnswerAskRequest", session_id=conversation, answer=request)
    closed = await other.call(answer_ask=answer)
    assert closed.ask_closed.answers == ["yes"]
    events = await until(other, following, "completed")
    assert "".join(e.token.text for e in events) == " b"


async def test_a_stop_right_behind_its_message_stops_it(client: Contract) -> None:
    for _ in range(20):
        conversation = await client.conversation()
        stop = message("StopTurnRequest", session_id=conversation)
        say = await client.say(conversation, "[[ask:question]]never")
        assert (await client.call(stop_turn=stop)).turn.state
        assert (await client.all(say))[-1].error.code == "CANCELLED"


async def test_a_turn_can_be_stopped_by_any_client(client: Contract, other: Contract) -> None:
    conversation = await client.conversation()
    say = await client.open(**sending(conversation, "a [[delay:3600000]]b", message_id="m"))
    answers = client.answers(say)
    turn = (await anext(answers)).turn.id
    stop = message("StopTurnRequest", session_id=conversation, turn_id=turn)
    for _ in range(2):
        stopped = await other.call(stop_turn=stop)
        assert stopped.turn.state == 6
    rest = [answer async for answer in answers]
    assert rest[-1].error.code == "CANCELLED"
    everything = message("StopTurnRequest", session_id=conversation)
    assert (await other.call(stop_turn=everything)).turn.id == ""
    unknown = message("StopTurnRequest", session_id=conversation, turn_id="none")
    assert (await other.call(stop_turn=unknown)).error.code == "NOT_FOUND"


async def test_stopping_everything_empties_the_queue(client: Contract, other: Contract) -> None:
    conversation = await client.conversation()
    running = await client.open(**sending(conversation, "[[delay:3600000]]b", message_id="1"))
    queued = [
        await client.open(**sending(conversation, "c", message_id=f"{n}")) for n in range(2, 5)
    ]
    places = [(await client.queue(request_id).get()).turn.place for request_id in queued]
    assert places == [1, 2, 3]
    stop = message("StopTurnRequest", session_id=conversation)
    stopped = (await other.call(stop_turn=stop)).turn
    assert stopped.message_id == "1"
    for request_id in (running, *queued):
        assert (await client.all(request_id))[-1].error.code == "CANCELLED"
    history = await client.call(get_history=message("GetHistoryRequest", session_id=conversation))
    assert [e.user_text for e in history.history.entries if e.user_text] == ["[[delay:3600000]]b"]


async def test_queued_turns_run_in_order_and_show_their_place(client: Contract) -> None:
    conversation = await client.conversation()
    ask = await client.open(**sending(conversation, "[[ask:question]]", message_id="1"))
    ask_id = await _ask(client, ask)
    second = await client.open(**sending(conversation, "b", message_id="2"))
    third = await client.open(**sending(conversation, "c", message_id="3"))
    assert [(await client.queue(r).get()).turn.place for r in (second, third)] == [1, 2]
    await client.send(ask, answer=message("AnswerRequest", ask_id=ask_id, answers=["yes"]))
    await client.all(ask)
    states = [(a.turn.state, a.turn.place) for a in await client.all(third) if a.HasField("turn")]
    assert states == [(1, 1), (2, 0), (4, 0)]
    assert text_of(await client.all(second)) == "b"


async def test_messages_that_wait_do_not_let_the_running_turn_go_on(
    shared: ServiceProcess, other: Contract
) -> None:
    """The turn's own reader has no credit, and the queue behind it does not count as readers."""
    async with shared.connect(initial_credit=2) as client:
        conversation = await client.conversation()
        say = await client.say(conversation, "[[repeat:1000000]]")
        await client.queue(say).get()
        for _ in range(3):
            await client.say(conversation, "later")
        for nonce in range(50):  # time in which it could go on
            await client.send(0, ping=message("Ping", nonce=nonce))
            await client.queue(0).get()
        following = await follow(other, conversation)
        turns = (await event(other, following)).snapshot.turns
        await other.send(following, cancel=message("CancelRequest"))
        assert [turn.info.place for turn in turns] == [0, 1, 2, 3]
        assert sum(len(e.token.text) for e in turns[0].events) < 32 * 1024


async def test_an_admitted_message_is_answered_at_once_and_runs_by_itself(
    client: Contract, other: Contract
) -> None:
    conversation = await client.conversation()
    following = await follow(other, conversation)
    await event(other, following)
    fields = {"message_id": "m", "admit_only": True}
    answer = await client.call(**sending(conversation, "a b", **fields))
    assert answer.turn.state == 2
    events = await until(other, following, "completed")
    assert "".join(e.token.text for e in events) == "a b"
    again = await client.call(**sending(conversation, "a b", **fields))
    assert (again.turn.id, again.turn.state) == (answer.turn.id, 4)


async def test_the_first_answer_that_an_ask_allows_wins(client: Contract, other: Contract) -> None:
    conversation = await client.conversation()
    say = await client.say(conversation, "[[ask:permission]]done")
    ask = await _ask(client, say)

    def answering(*answers: str) -> Any:
        request = message("AnswerRequest", ask_id=ask, answers=answers)
        return message("AnswerAskRequest", session_id=conversation, answer=request)

    refused = await other.call(answer_ask=answering("perhaps"))
    assert refused.error.code == "INVALID_ARGUMENT"
    both = await asyncio.gather(
        client.call(answer_ask=answering("once")), other.call(answer_ask=answering("reject"))
    )
    (first,) = {tuple(answer.ask_closed.answers) for answer in both}
    assert first in (("once",), ("reject",))
    late = await other.call(answer_ask=answering("always"))
    assert tuple(late.ask_closed.answers) == first
    assert text_of(await client.all(say)) == "done"
    unknown = message("AnswerRequest", ask_id="none", answers=["once"])
    wrong = message("AnswerAskRequest", session_id=conversation, answer=unknown)
    assert (await other.call(answer_ask=wrong)).error.code == "NOT_FOUND"


async def test_the_history_says_where_to_follow_from(client: Contract, other: Contract) -> None:
    conversation = await client.conversation()
    await client.reply(conversation, "old")
    say = await client.say(conversation, "new [[ask:question]]end")
    ask = await _ask(client, say)
    request = message("GetHistoryRequest", session_id=conversation)
    page = (await other.call(get_history=request)).history
    assert [e.user_text for e in page.entries if e.user_text] == ["old", "new [[ask:question]]end"]
    following = await follow(other, conversation, after=page.position)
    first = await event(other, following)
    assert first.turn.text == "new [[ask:question]]end"
    await client.send(say, answer=message("AnswerRequest", ask_id=ask, answers=["no"]))
    events = await until(other, following, "completed")
    assert "".join(e.token.text for e in events) == "new end"
    page = (await other.call(get_history=request)).history
    kinds = [e.WhichOneof("entry") for e in page.entries]
    assert kinds[2:] == ["user_text", "assistant_text", "ask", "ask_closed", "assistant_text"]
    assert page.entries[-1].HasField("completed")
    assert len({e.turn_id for e in page.entries[2:]}) == 1


async def test_an_old_client_gets_only_what_the_first_version_has(client: Contract) -> None:
    conversation = await client.conversation()
    text = "[[reasoning:hm]]a [[tool:t {}]][[ask:question]]b"
    say = await client.say(conversation, text)
    ask = await _ask(client, say)
    await client.send(say, answer=message("AnswerRequest", ask_id=ask, answers=["yes"]))
    await client.all(say)
    request = message("GetHistoryRequest", session_id=conversation)
    page = (await client.call(get_history=request)).history
    kinds = {e.WhichOneof("entry") for e in page.entries}
    assert kinds == {"user_text", "assistant_text", "tool_call", "tool_result"}
    assert not page.position


async def test_a_watcher_is_told_of_each_conversation_that_changes(
    client: Contract, other: Contract
) -> None:
    old = await client.conversation("old")
    watching = await other.open(watch_sessions=message("WatchSessionsRequest"))
    before = []
    while not (change := (await other.queue(watching).get()).session_changed).listed:
        before.append(change.info)
    assert [info.id for info in before][-1] == old
    new = await client.conversation("new")
    assert (await other.queue(watching).get()).session_changed.info.id == new
    say = await client.say(new, "[[ask:question]]")
    ask = await _ask(client, say)
    states: list[int] = []
    while states[-1:] != [3]:
        states.append((await other.queue(watching).get()).session_changed.info.state)
    assert states in ([2, 3], [3])  # what is not read in time is skipped
    await client.send(say, answer=message("AnswerRequest", ask_id=ask, answers=["yes"]))
    while states[-1:] != [1]:
        states.append((await other.queue(watching).get()).session_changed.info.state)
    await client.call(delete_session=message("DeleteSessionRequest", session_id=old))
    assert (await other.queue(watching).get()).session_changed.deleted == old


async def _ask(client: Contract, request_id: int) -> str:
    """Return the id of the next ask of a reply."""
    while True:
        answer = await client.queue(request_id).get()
        if answer.HasField("ask"):
            ask_id: str = answer.ask.ask_id
            return ask_id
