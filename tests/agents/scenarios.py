"""What each agent goes through. A scenario returns what came of it, for the table."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from callboard_service.backends.acp.connection import Connection, Process
from callboard_service.backends.acp.sessions import introduce
from callboard_service.backends.acp.survey import Deaf
from callboard_service.backends.fields import tables
from callboard_service.backends.fields import text as text_in
from callboard_service.backends.guarded.process import GuardedProcess
from tests.agents.talking import ALLOW_ONCE, ANSWERED_WITHIN, REJECT_ONCE, Talk
from tests.e2e.contract_client import message, text_of
from tests.support.peers.scripted_llm import Step, cut, fail, say, think, wait
from tests.support.peers.talk import history

WORKS = "works"
NEVER_ASKS = "runs without asking"
LONG = 200 * 1024
CLOSED_WITHIN = 8.0
"""Seconds that an agent has to end after its standard input was closed."""


@dataclass(frozen=True)
class Scenario:
    """A scenario. quick: it is also run by `make test-programs`. alone: in a new conversation."""

    title: str
    run: Callable[[Talk], Awaitable[str]]
    quick: bool = False
    alone: bool = False


async def text(talk: Talk) -> str:
    turn = await talk.reply([say("one ", "two ", "three")])
    assert text_of(turn.seen) == "one two three"
    assert turn.of("completed"), turn.seen
    kept = (await history(talk.client, talk.conversation)).entries[-1]
    assert kept.assistant_text == "one two three"
    return WORKS


async def thoughts(talk: Talk) -> str:
    turn = await talk.reply([think("let ", "me"), say("done")])
    assert text_of(turn.seen) == "done"
    thought = "".join(one.text for one in turn.of("reasoning"))
    assert thought in ("let me", "")
    return WORKS if thought else "not shown"


async def tool_allowed(talk: Talk) -> str:
    made = talk.folder / "made"
    command = f"echo h''i > {made}; cat {made}"
    turn = await talk.begin(talk.shell(command), [say("done")])
    ask = await turn.asked()
    outcome = NEVER_ASKS
    if ask is not None:
        assert not made.exists()
        shown = command in ask.title or command in ask.detail
        outcome = WORKS if shown else "works; the agent shortens the command in its question"
        await turn.choose(ask, ALLOW_ONCE)
    await turn.end()
    assert made.read_text() == "hi\n"
    assert text_of(turn.seen) == "done"
    (result,) = turn.of("tool_result")
    assert not result.is_error
    return outcome if "hi" in result.output else f"{outcome}; no output is shown"


async def tool_refused(talk: Talk) -> str:
    made = talk.folder / "refused"
    turn = await talk.begin(talk.shell(f"echo no > {made}"), [say("went on")])
    ask = await turn.asked()
    if ask is None:
        return NEVER_ASKS
    await turn.choose(ask, REJECT_ONCE)
    await turn.end()
    assert not made.exists()
    (result,) = turn.of("tool_result")
    assert result.is_error
    went_on = text_of(turn.seen) == "went on"
    return "does not run; the reply goes on" if went_on else "does not run; the reply ends"


async def stop_in_permission(talk: Talk) -> str:
    made = talk.folder / "stopped"
    turn = await talk.begin(talk.shell(f"echo no > {made}"), [say("never")])
    if await turn.asked() is None:
        return NEVER_ASKS
    await turn.stop()
    assert [one.answered for one in turn.of("ask_closed")] == [False]
    outcome = await next_after_stop(talk)
    assert not made.exists()
    return outcome


async def never_answered(talk: Talk) -> str:
    """The client leaves; the permission stays open for others until the turn is stopped."""
    made = talk.folder / "unanswered"
    async with talk.service.connect(features=["follow"]) as other:
        turn = await talk.at(talk.service, other).begin(
            talk.shell(f"echo no > {made}"), [say("never")]
        )
        ask = await turn.asked()
        if ask is None:
            return NEVER_ASKS
        await other.lose()
    events, shown = await follow(talk)
    assert shown.info.state == 3, "waiting"
    assert [each.ask for each in shown.events if each.HasField("ask")] == [ask]
    stop = message("StopTurnRequest", session_id=talk.conversation)
    assert (await talk.client.call(stop_turn=stop)).turn.state == 6, "cancelled"
    async for each in events:
        if each.event.HasField("ask_closed"):
            assert not each.event.ask_closed.answered
            break
    await talk.goes_on()
    assert not made.exists()
    return "stays open until the reply is stopped"


async def stop_in_text(talk: Talk) -> str:
    turn = await talk.begin([say("begun "), wait(talk.conversation + "text"), say("never")])
    await turn.until("token")
    await turn.stop()
    outcome = await next_after_stop(talk)
    assert await talk.llm.about(turn.text)[0].end()
    assert talk.llm.about(turn.text)[0].abandoned, "the model is not asked on"
    return outcome


async def stop_at_once(talk: Talk) -> str:
    await talk.goes_on()  # the agent runs
    turn = await talk.begin([wait(talk.conversation + "at once"), say("never")])
    await turn.stop()
    return await next_after_stop(talk)


async def stop_in_tool(talk: Talk) -> str:
    begun, hold = talk.folder / "begun", talk.folder / "hold"
    for pipe in (begun, hold):
        os.mkfifo(pipe)
    turn = await talk.begin(talk.shell(f"echo $$ > {begun}; cat {hold}"), [say("never")])
    running = asyncio.create_task(written(begun))
    asked = asyncio.create_task(turn.asked())
    await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
    if asked.done():
        await turn.choose(asked.result(), ALLOW_ONCE)
    asked.cancel()
    tool = psutil.Process(int(await running))
    await turn.stop()
    outcome = await next_after_stop(talk)
    _, left = await asyncio.to_thread(psutil.wait_procs, [tool], 5)
    return f"{outcome}; the tool runs on" if left else outcome


async def written(pipe: Path) -> str:
    """Wait until something is written into the pipe, and return it."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    loop.add_reader(reader, readable.set)
    try:
        await readable.wait()
        return os.read(reader, 100).decode()
    finally:
        loop.remove_reader(reader)
        os.close(reader)


async def next_after_stop(talk: Talk) -> str:
    """Send another message; return whether the agent stopped, or was ended."""
    before = talk.processes()
    turn = await talk.goes_on()
    outcome = WORKS if talk.processes() & before else "works; its process is ended"
    left = "still be running" in turn.notices()
    return f"{outcome}; the next reply says that a tool may run on" if left else outcome


async def second_message(talk: Talk) -> str:
    gate = talk.conversation + "second"
    first = await talk.begin([say("first "), wait(gate), say("reply")])
    second = await talk.begin([say("second reply")])
    await first.until("token")
    talk.llm.go(gate)
    await first.end()
    await second.end()
    assert (text_of(first.seen), text_of(second.seen)) == ("first reply", "second reply")
    return WORKS


async def long_line(talk: Talk) -> str:
    said = "".join(f"{n:07x} " for n in range(LONG // 8))
    turn = await talk.reply([say(said)])
    assert text_of(turn.seen) == said
    return WORKS


async def second_window(talk: Talk) -> str:
    turn = await talk.begin(talk.shell(f"echo two > {talk.folder / 'two'}"), [say("both")])
    ask = await turn.asked()
    if ask is None:
        return NEVER_ASKS
    async with talk.service.connect(features=["follow"]) as other:
        events, shown = await follow(talk.at(talk.service, other))
        assert shown.info.state == 3, "waiting"
        assert [each.ask for each in shown.events if each.HasField("ask")] == [ask]
        (once,) = (one.value for one in ask.choices if one.kind == ALLOW_ONCE)
        said = message("AnswerRequest", ask_id=ask.ask_id, answers=[once])
        request = message("AnswerAskRequest", session_id=talk.conversation, answer=said)
        assert list((await other.call(answer_ask=request)).ask_closed.answers) == [once]
        followed = ""
        async for each in events:
            followed += each.event.token.text
            if each.event.HasField("completed"):
                break
    await turn.end()
    assert text_of(turn.seen) == followed == "both"
    return WORKS


async def follow(talk: Talk) -> tuple[Any, Any]:
    """Follow the conversation; return its events, and the turn that runs."""
    request = message("FollowSessionRequest", session_id=talk.conversation)
    events = talk.client.answers(await talk.client.open(follow_session=request))
    return events, (await anext(events)).event.snapshot.turns[0]


async def killed(talk: Talk) -> str:
    before = talk.processes()
    await talk.reply([say("remember this")])
    (agent,) = talk.processes() - before
    turn = await talk.begin([say("begun "), wait(talk.conversation)])
    await turn.until("token")
    tree = [agent, *agent.children(recursive=True)]
    for one in tree:
        one.suspend()  # or those that are killed last would tell
    for one in tree:
        one.kill()
    error = (await turn.end())[-1].error
    assert (error.code, error.retryable) == ("ABORTED", True), error
    assert "SIGKILL" in error.message, error
    _, left = await asyncio.to_thread(psutil.wait_procs, tree, 10)
    assert not left
    return f"costs the turn; {await remembers(talk, 'remember this')}"


async def remembers(talk: Talk, said: str) -> str:
    """Send another message; return whether the agent has loaded its session."""
    turn = await talk.goes_on()
    if "no longer knows" in turn.notices():
        return "the agent has forgotten, and a notice says so"
    assert said in str(talk.llm.about(turn.text)[-1].body["messages"])
    return "the next message loads the session"


async def copied(talk: Talk) -> str:
    """A copy of everything, and one that ends before the second message."""
    await talk.reply([say("remember this")])
    await talk.reply([say("not that")])
    copy = message("ForkSessionRequest", session_id=talk.conversation)
    entries = (await history(talk.client, talk.conversation)).entries
    *_, second = (entry.id for entry in entries if entry.user_text)
    edited = message("ForkSessionRequest", session_id=talk.conversation, before=second)
    outcomes = []
    for request, knows in ((copy, True), (edited, False)):
        made = (await talk.client.call(fork_session=request)).session_info.id
        turn = await talk.on(made).reply([say("it goes on")])
        assert text_of(turn.seen) == "it goes on", turn.seen
        asked = str(talk.llm.about(turn.text)[-1].body["messages"])
        assert ("remember this" in asked, "not that" in asked) == (True, knows)
        given = "was given their text" in turn.notices()
        outcomes.append("is given the text" if given else "copies its session")
    assert outcomes[1] == "is given the text"
    return f"the agent {outcomes[0]}"


async def closed(talk: Talk) -> str:
    """A conversation that is deleted closes the standard input of its agent."""
    before = talk.processes()
    await talk.reply([say("here")])
    (agent,) = talk.processes() - before
    tree = [agent, *agent.children(recursive=True)]
    delete = message("DeleteSessionRequest", session_id=talk.conversation)
    await talk.client.call(delete_session=delete)
    _, by_force = await asyncio.to_thread(psutil.wait_procs, tree, CLOSED_WITHIN - 1)
    _, left = await asyncio.to_thread(psutil.wait_procs, by_force, 5)
    assert not left
    return "is ended by force" if by_force else "ends by itself"


async def deleted(talk: Talk) -> str:
    """A conversation is deleted; return what becomes of its session in the agent."""
    before = talk.processes()
    await talk.reply([say("delete this")])
    (agent,) = talk.processes() - before
    command, place, environment = talk.agent.command, Path(agent.cwd()), agent.environ()
    known = await sessions(command, place, environment)
    delete = message("DeleteSessionRequest", session_id=talk.conversation)
    await talk.client.call(delete_session=delete)
    ended, _ = await asyncio.to_thread(psutil.wait_procs, [agent], CLOSED_WITHIN)
    assert ended
    gone = known - await sessions(command, place, environment)
    assert len(gone) <= 1
    return "the agent deletes its session" if gone else "its session stays with the agent"


async def sessions(command: list[str], place: Path, environment: dict[str, str]) -> set[str]:
    """Return the ids of the newest sessions that an agent lists."""

    async def start(received: Callable[[bytes], None], ended: Callable[[str], None]) -> Process:
        return await GuardedProcess.start(
            command, place, environment, received=received, ended=ended, report=print
        )

    connection = Connection(Deaf())
    try:
        await connection.open(start)
        await introduce(connection, ANSWERED_WITHIN)
        params = {"cwd": str(place)}
        listed = await connection.call("session/list", params, ANSWERED_WITHIN)
        return {text_in(one, "sessionId") for one in tables(listed, "sessions")}
    finally:
        await connection.close(patience=1)


async def failing(steps: list[Step], cause: str, talk: Talk, *, lasting: bool = False) -> str:
    """Let the model server fail; return how a person learns of it."""
    turn = await talk.reply([*steps, say("recovered")])
    last, said = turn.seen[-1], text_of(turn.seen)
    if last.HasField("error"):
        told = cause in last.error.message
        outcome = "an error with the cause" if told else "an error without the cause"
    elif "recovered" in said:
        outcome = WORKS if said in ("recovered", "begun recovered") else "works; text comes twice"
    elif said and (lasting or (cause and cause in said)):  # the model cannot have said it
        outcome = "a text that tells of it"
    elif said.startswith("begun ") and said != "begun ":
        outcome = "the model is asked to go on from there"
    elif said:
        outcome = f"the text {said[:60]!r}"
    else:
        outcome = "an empty turn, shown as one"
    if not lasting:
        await talk.goes_on()
    return outcome


async def silent(talk: Talk) -> str:
    turn = await talk.begin([wait(talk.conversation + "silent")])
    notice = await turn.until("notice", "completed", "error")
    while notice.HasField("notice") and "silent for" not in notice.notice.message:
        notice = await turn.until("notice", "completed", "error")
    assert notice.HasField("notice"), turn.seen
    await turn.stop()
    return f"a notice, and {await next_after_stop(talk)} after a stop"


SCENARIOS = [
    # First, because it copies all that was said; the others go on in its conversation.
    Scenario("a copy of the conversation", copied, quick=True),
    Scenario("text", text, quick=True),
    Scenario("thoughts", thoughts, quick=True),
    Scenario("a tool that is allowed", tool_allowed, quick=True),
    Scenario("a tool that is refused", tool_refused, quick=True),
    Scenario("a permission that nobody answers", never_answered),
    Scenario("a second window answers", second_window, quick=True),
    Scenario("stop in a text", stop_in_text, quick=True),
    Scenario("stop in a permission", stop_in_permission, quick=True),
    Scenario("stop at once", stop_at_once, quick=True),
    Scenario("stop in a tool", stop_in_tool, quick=True),
    Scenario("a second message", second_message, quick=True),
    Scenario("a line of 200 KiB", long_line, quick=True),
    Scenario("the agent is killed", killed, alone=True),
    Scenario("its standard input is closed", closed, alone=True),
    Scenario("the conversation is deleted", deleted, alone=True),
]

AT_ONCE = [
    Scenario("the model server answers 401", partial(failing, [fail(401)], "401")),
    Scenario("it answers 500", partial(failing, [fail(500)], "500")),
    Scenario("it cuts a reply off once", partial(failing, [say("begun "), cut()], "")),
    Scenario("it is silent", silent),
]
"""Scenarios that take minutes, because agents try again; all are run at the same time."""

DOWN = Scenario("it is down", partial(failing, [], "", lasting=True))
