"""An agent runs commands through the service, if that is set."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from actors.testing import Answers
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    AskClosed,
    AskEvent,
    AskOption,
    ToolProgressEvent,
    ToolResultEvent,
)
from callboard_service.backends.acp import client_terminals, output_tail, serving
from callboard_service.backends.acp.output_tail import OutputTail
from callboard_service.backends.base import ReplyEvent
from tests.support.conversing import text_of
from tests.support.scripted_agent import (
    OPTIONS,
    Step,
    Traits,
    ask,
    notify,
    pause,
    request,
    say,
    shows_terminal,
    terminal,
    tool,
)
from tests.support.witness import Witness
from tests.unit.callboard_service.backends.acp.talking import (
    Talk,
    answer,
    eventually,
    notices,
    of,
    talking,
    until,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a shell")

MISSING, INVALID, FAILED, STOPPED, UNKNOWN = -32002, -32602, -32603, -32800, -32601


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the conversation; `hold` in it is a pipe that nobody writes to."""
    made = (tmp_path / "folder").resolve()
    made.mkdir()
    os.mkfifo(made / "hold")
    return made


@pytest.fixture
def witness(tmp_path: Path) -> Any:
    made = Witness(tmp_path)
    yield made
    made.close()


def sh(line: str, **more: Any) -> Step:
    """Run a line in a shell."""
    return request("terminal/create", command="sh", args=["-c", line], **more)


def holding(witness: Witness, then: str = "cat hold") -> Step:
    """Run a command that goes on until it is killed, and has a tool in a session of its own."""
    return sh(f"exec 3> {witness.path}; setsid cat hold & echo begun; {then}")


async def allowed(stream: Answers[ReplyEvent]) -> list[Any]:
    """Return the events of a reply in which each command is allowed once."""
    seen = []
    async for event in stream:
        seen.append(event)
        if isinstance(event, AskEvent):
            stream.tell(AnswerRequest(ask_id=event.ask_id, answers=["allow"]))
    return seen


async def run(talk: Talk, *steps: Step) -> list[Any]:
    """Send a script and allow each command; return the answers to the requests since then."""
    before = len(talk.agents.answers())
    await allowed(talk.begin(*steps, say("on")))
    return talk.agents.answers()[before:]


async def begun(talk: Talk, *steps: Step) -> Answers[ReplyEvent]:
    """Begin a reply, allow its command, and wait until a call shows that it has begun."""
    stream = talk.begin(*steps)
    await answer(stream, "allow")
    shown = await until(stream, ToolProgressEvent)
    assert shown.output == "begun\n"
    return stream


def codes(answers: list[Any]) -> list[int]:
    return [one.get("code", 0) for one in answers]


# -- the five methods ------------------------------------------------------------------------


async def test_terminals_are_offered_and_served_only_if_that_is_set(folder: Path) -> None:
    methods = ["create", "output", "wait_for_exit", "kill", "release"]
    requests = [request(f"terminal/{one}", command="true", terminalId="x") for one in methods]
    async with talking(folder) as talk:
        assert codes(await run(talk, *requests)) == [UNKNOWN] * 5
        (offered,) = talk.agents.sent("initialize")
        assert offered["clientCapabilities"]["terminal"] is False
    async with talking(folder, terminals=True) as talk:
        assert codes(await run(talk, *requests)) == [0, *[MISSING] * 4]
        (offered,) = talk.agents.sent("initialize")
        assert offered["clientCapabilities"]["terminal"] is True
        assert offered["clientCapabilities"]["fs"]["readTextFile"] is False


async def test_a_command_runs_and_its_output_and_its_end_are_told(folder: Path) -> None:
    async with talking(folder, terminals=True) as talk:
        _, end, output, released = await run(
            talk, sh("echo one; echo two >&2; pwd; exit 3"), terminal("wait_for_exit"),
            terminal("output"), terminal("release"),
        )  # fmt: skip
    status = {"exitCode": 3, "signal": None}
    assert end == status
    said = f"one\ntwo\n{folder}\n"
    assert output == {"output": said, "truncated": False, "exitStatus": status}
    assert released == {}


async def test_what_runs_has_no_exit_status_yet(folder: Path, witness: Witness) -> None:
    """And the request for its end waits, until the agent withdraws it."""
    steps = [terminal("output"), terminal("wait_for_exit"), say("on")]
    async with talking(folder, terminals=True) as talk:
        stream = await begun(talk, holding(witness), shows_terminal("1"), pause(), *steps)
        talk.agents.last.agent.go()
        await eventually(lambda: len(talk.agents.answers()) == 2)
        assert talk.agents.answers()[-1] == {"output": "begun\n", "truncated": False}
        talk.agents.last.agent._do(notify("$/cancel_request", requestId=2))
        assert text_of([event async for event in stream]) == "on"
        assert codes(talk.agents.answers()[2:]) == [STOPPED]
        assert not witness.nobody_left()
    assert witness.nobody_left()


async def test_a_kill_ends_all_processes_and_leaves_the_output(
    folder: Path, witness: Witness
) -> None:
    async with talking(folder, terminals=True) as talk:
        stream = await begun(
            talk, holding(witness), shows_terminal("1"), pause(), terminal("kill"),
            terminal("wait_for_exit"), terminal("output"), terminal("kill"),
        )  # fmt: skip
        talk.agents.last.agent.go()
        assert [event async for event in stream]
        _, killed, end, output, again = talk.agents.answers()
        assert (killed, again) == ({}, {})
        assert end == {"exitCode": None, "signal": "SIGTERM"}
        assert output == {"output": "begun\n", "truncated": False, "exitStatus": end}
        await witness.wait()


async def test_a_command_that_ignores_sigterm_is_killed(folder: Path, witness: Witness) -> None:
    deaf = holding(witness, "trap '' TERM; cat hold")
    async with talking(folder, terminals=True) as talk:
        stream = await begun(
            talk, deaf, shows_terminal("1"), pause(), terminal("kill"), terminal("wait_for_exit")
        )
        talk.agents.last.agent.go()
        assert [event async for event in stream]
        assert talk.agents.answers()[-1]["exitCode"] is None
        await witness.wait()


async def test_a_release_kills_and_forgets(folder: Path, witness: Witness) -> None:
    steps = [terminal(one) for one in ("release", "output", "wait_for_exit", "kill", "release")]
    async with talking(folder, terminals=True) as talk:
        stream = await begun(talk, holding(witness), shows_terminal("1"), pause(), *steps)
        talk.agents.last.agent.go()
        assert [event async for event in stream]
        assert codes(talk.agents.answers()) == [0, 0, MISSING, MISSING, MISSING, MISSING]
        await witness.wait()


async def test_a_command_has_no_input(folder: Path) -> None:
    async with talking(folder, terminals=True) as talk:
        _, end = await run(talk, sh("cat; exit 4"), terminal("wait_for_exit"))
    assert end["exitCode"] == 4


# -- permission ------------------------------------------------------------------------------


async def test_a_person_sees_all_of_a_command_before_it_runs(folder: Path) -> None:
    (folder / "sub").mkdir()
    env = [{"name": "A", "value": "b c"}, {"name": "D", "value": ""}]
    async with talking(folder, terminals=True) as talk:
        stream = talk.begin(sh("touch made", cwd=str(folder / "sub"), env=env), say("done"))
        asked = await until(stream, AskEvent)
        assert not (folder / "sub" / "made").exists()
        stream.tell(AnswerRequest(ask_id=asked.ask_id, answers=["allow"]))
        assert text_of([event async for event in stream]) == "done"
        await run(talk, terminal("wait_for_exit"))
    assert (folder / "sub" / "made").exists()
    assert asked.kind == AskEvent.KIND_PERMISSION
    assert asked.title == f"Run a command in {folder / 'sub'}"
    assert asked.detail == "A='b c' D='' sh -c 'touch made'"
    assert [choice.kind for choice in asked.choices] == [
        AskOption.KIND_ALLOW_ONCE, AskOption.KIND_ALLOW_ALWAYS, AskOption.KIND_REJECT_ONCE,
    ]  # fmt: skip


@pytest.mark.parametrize("said", [["reject"], []])
async def test_a_command_that_is_refused_does_not_run(folder: Path, said: list[str]) -> None:
    async with talking(folder, terminals=True) as talk:
        stream = talk.begin(sh("touch made"), say("well"))
        await answer(stream, *said)
        closed = of(AskClosed, [event async for event in stream])
        assert [list(one.answers) for one in closed] == [["reject"]]
        assert codes(talk.agents.answers()) == [FAILED]
    assert not (folder / "made").exists()


async def test_the_same_command_can_be_allowed_for_the_reply(folder: Path) -> None:
    """Another one, or the same with another variable, is asked for; so is all in the next reply."""
    other = [sh("echo 2"), sh("echo 1", env=[{"name": "A", "value": "1"}])]
    async with talking(folder, terminals=True) as talk:
        stream = talk.begin(sh("echo 1"), sh("echo 1"), *other, say("done"))
        assert (await answer(stream, "allow_all")).detail == "sh -c 'echo 1'"
        assert (await answer(stream, "reject")).detail == "sh -c 'echo 2'"
        assert (await answer(stream, "reject")).detail == "A=1 sh -c 'echo 1'"
        assert of(AskEvent, [event async for event in stream]) == []
        assert codes(talk.agents.answers()) == [0, 0, FAILED, FAILED]
        stream = talk.begin(sh("echo 1"))
        assert await answer(stream, "reject")
        assert [event async for event in stream]


KIMI = [
    {"name": "NO_COLOR", "value": "1"}, {"name": "TERM", "value": "dumb"},
    {"name": "GIT_TERMINAL_PROMPT", "value": "0"}, {"name": "SHELL", "value": "/bin/bash"},
]  # fmt: skip


async def test_what_a_permission_has_shown_is_not_asked_for_again(folder: Path) -> None:
    """That holds for exactly this line in a usual shell, once, and if it was allowed."""
    permission = ask(*OPTIONS, toolCallId="1", title="sh", rawInput={"command": "echo 1; echo 2"})
    async with talking(folder, terminals=True) as talk:
        stream = talk.begin(permission, sh("echo 1; echo 2"), sh("echo 1; echo 2"))
        assert (await answer(stream, "once")).detail == "echo 1; echo 2"
        assert (await answer(stream, "reject")).title == f"Run a command in {folder}"
        assert [event async for event in stream]
        stream = talk.begin(permission, sh("echo 1; echo 2"))
        await answer(stream, "no")
        assert await answer(stream, "reject")
        assert [event async for event in stream]


@pytest.mark.parametrize("agent", ["kimi", "fast-agent", "a line"])
async def test_what_agents_make_of_a_line_is_not_asked_for_again(folder: Path, agent: str) -> None:
    permission = ask(*OPTIONS, toolCallId="1", title="sh", rawInput={"command": "echo 1; echo 2"})
    kimi = ["-c", f"cd '{folder}' && echo 1; echo 2"]
    create = {
        "kimi": request("terminal/create", command="/bin/bash", args=kimi, env=KIMI),
        "fast-agent": request("terminal/create", command="/bin/sh", args=["-lc", "echo 1; echo 2"]),
        "a line": request("terminal/create", command="echo 1; echo 2"),
    }
    async with talking(folder, terminals=True) as talk:
        stream = talk.begin(permission, create[agent], say("on"))
        await answer(stream, "once")
        assert of(AskEvent, [event async for event in stream]) == []
        assert codes(talk.agents.answers()[1:]) == [0]


@pytest.mark.parametrize(
    "more",
    [
        {"args": ["-c", "echo 1 "]},
        {"args": ["-c", "cd / && echo 1"]},
        {"args": ["-ic", "echo 1"]},
        {"args": ["-c", "echo 1", "more"]},
        {"command": "./sh"},
        {"command": "/tmp/sh"},
        {"command": "python3"},
        {"cwd": "sub"},
        {"env": [{"name": "PATH", "value": "/tmp"}]},
        {"env": [{"name": "SHELL", "value": "/tmp/x"}]},
        {"env": [{"name": "TERM", "value": "xterm"}]},
    ],
)
async def test_more_than_a_permission_has_shown_is_asked_for(folder: Path, more: Any) -> None:
    (folder / "sub").mkdir()
    given = {"command": "sh", "args": ["-c", "echo 1"], **more}
    if "cwd" in given:
        given["cwd"] = str(folder / given["cwd"])
    permission = ask(*OPTIONS, toolCallId="1", title="sh", rawInput={"command": "echo 1"})
    async with talking(folder, terminals=True) as talk:
        stream = talk.begin(permission, request("terminal/create", **given))
        await answer(stream, "once")
        assert (await answer(stream, "reject")).title.startswith("Run a command in")
        assert [event async for event in stream]


async def test_a_permission_for_another_folder_is_none_for_this_one(folder: Path) -> None:
    given = {"command": "echo 1", "cwd": "/elsewhere"}
    permission = ask(*OPTIONS, toolCallId="1", title="sh", rawInput=given)
    async with talking(folder, terminals=True) as talk:
        stream = talk.begin(permission, sh("echo 1"))
        await answer(stream, "once")
        assert await answer(stream, "reject")
        assert [event async for event in stream]


@pytest.mark.parametrize(("target", "code"), [("..", INVALID), ("other", FAILED)])
async def test_a_folder_that_has_changed_since_it_was_shown_is_not_used(
    folder: Path, target: str, code: int
) -> None:
    (folder / "sub").mkdir()
    (folder / "other").mkdir()
    async with talking(folder, terminals=True) as talk:
        stream = talk.begin(sh("touch made", cwd=str(folder / "sub")), say("well"))
        asked = await until(stream, AskEvent)
        (folder / "sub").rmdir()
        (folder / "sub").symlink_to(folder / target)
        stream.tell(AnswerRequest(ask_id=asked.ask_id, answers=["allow"]))
        assert [event async for event in stream]
        assert codes(talk.agents.answers()) == [code]
    assert not (folder / target / "made").exists()


async def test_what_cannot_be_shown_is_not_run(folder: Path) -> None:
    async with talking(folder, terminals=True) as talk:
        events = await talk.say(sh("touch made; " + "#" * 300_000), say("on"))
        assert of(AskEvent, events) == []
        assert codes(talk.agents.answers()) == [INVALID]
    assert not (folder / "made").exists()


# -- bounds and bad input --------------------------------------------------------------------


async def test_no_command_runs_outside_of_the_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")
    (tmp_path / "folder-2").mkdir()
    outside = [
        "/", str(tmp_path), f"{folder}/..", f"{folder}/up", f"{folder}/loop", f"{folder}-2",
        f"{folder}/none", f"{folder}/hold", "sub", "", f"{folder}/a\0b", 5,
    ]  # fmt: skip
    async with talking(folder, terminals=True) as talk:
        events = await talk.say(*(sh("touch made", cwd=one) for one in outside), say("on"))
        assert of(AskEvent, events) == []
        assert codes(talk.agents.answers()) == [INVALID] * len(outside)


async def test_a_folder_may_be_named_by_a_link(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.symlink_to(folder)
    async with talking(other, terminals=True) as talk:
        create, _, output = await run(
            talk, sh("pwd", cwd=str(other)), terminal("wait_for_exit"), terminal("output")
        )
        assert (list(create), output["output"]) == (["terminalId"], f"{folder}\n")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"command": ""},
        {"command": 5},
        {"command": "a\0b"},
        {"command": "\ud800"},
        {"command": "true", "args": "x"},
        {"command": "true", "args": [5]},
        {"command": "true", "args": ["x"] * 20_000},
        {"command": "true", "env": {}},
        {"command": "true", "env": ["x"]},
        {"command": "true", "env": [{"name": "A"}]},
        {"command": "true", "env": [{"name": "", "value": "x"}]},
        {"command": "true", "env": [{"name": "A=B", "value": "x"}]},
        {"command": "true", "env": [{"name": "Callboard_TOKEN", "value": "x"}]},
        {"command": "true", "outputByteLimit": -1},
        {"command": "true", "outputByteLimit": "1"},
        {"command": "true", "outputByteLimit": True},
        {"command": "true", "sessionId": "session-2"},
        {"command": "true", "sessionId": None},
    ],
)
async def test_bad_input_runs_nothing(folder: Path, given: Any) -> None:
    async with talking(folder, terminals=True) as talk:
        events = await talk.say(request("terminal/create", **given), say("on"))
        assert of(AskEvent, events) == []
        assert codes(talk.agents.answers()) == [INVALID]


async def test_a_program_that_does_not_exist_is_an_error(folder: Path) -> None:
    """None is looked for in the folder unless it is named with a path."""
    (folder / "own").write_text("#!/bin/sh\necho own\n")
    (folder / "own").chmod(0o755)
    create = [request("terminal/create", command=one) for one in ("none", "own", "./own")]
    async with talking(folder, terminals=True) as talk:
        answers = await run(talk, *create, terminal("wait_for_exit"), terminal("output"))
        assert codes(answers) == [INVALID, INVALID, 0, 0, 0]
        assert answers[-1]["output"] == "own\n"


async def test_a_command_without_arguments_may_be_a_line_for_a_shell(folder: Path) -> None:
    """What is shown says that it is one."""
    async with talking(folder, terminals=True) as talk:
        stream = talk.begin(
            request("terminal/create", command="echo a | tr a b; exit 5"),
            terminal("wait_for_exit"), terminal("output"),
        )  # fmt: skip
        assert (await answer(stream, "allow")).detail == "/bin/sh -c 'echo a | tr a b; exit 5'"
        assert [event async for event in stream]
        end, output = talk.agents.answers()[1:]
        assert (end["exitCode"], output["output"]) == (5, "b\n")


async def test_a_command_gets_the_environment_of_the_agent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBOARD_TOKEN", "secret")
    monkeypatch.setenv("SOME_KEY", "secret")
    async with talking(folder, terminals=True) as talk:
        output = (
            await run(
                talk, request("terminal/create", command="env", env=[{"name": "A", "value": "b"}]),
                terminal("wait_for_exit"), terminal("output"),
            )
        )[-1]["output"]  # fmt: skip
    lines = output.splitlines()
    assert "A=b" in lines
    assert f"PATH={os.environ['PATH']}" in lines
    assert "secret" not in output


async def test_the_end_of_the_output_is_kept(folder: Path) -> None:
    """Within the agent's limit of bytes, and from the beginning of a character."""
    limits = (0, 1, 2, 3, 4, 9, 10, None)
    async with talking(folder, terminals=True) as talk:
        outputs = []
        for number, limit in enumerate(limits, 1):
            answers = await run(
                talk, sh("printf 'aöü€'; printf é", outputByteLimit=limit),
                terminal("wait_for_exit", number), terminal("output", number),
            )  # fmt: skip
            outputs.append((answers[-1]["output"], answers[-1]["truncated"]))
    assert outputs == [
        ("", True), ("", True), ("é", True), ("é", True), ("é", True),
        ("öü€é", True), ("aöü€é", False), ("aöü€é", False),
    ]  # fmt: skip


def test_the_output_is_bounded_whatever_the_agent_wants() -> None:
    tail = OutputTail(5)
    for piece in (b"ab", "öü".encode(), b"c"):
        tail.add(piece)
    assert tail.total == 7
    assert tail.text(100, whole=True) == ("öüc", True)
    assert len(tail._kept) == 5
    tail.add(b"d")
    assert tail.text(100, whole=True) == ("ücd", True)


@pytest.mark.parametrize("character", ["é", "€", "🎭"])
def test_half_a_character_waits_for_the_rest(character: str) -> None:
    tail, data = OutputTail(100), character.encode()
    tail.add(b"a")
    for byte in data[:-1]:
        tail.add(bytes([byte]))
        assert tail.text(100, whole=False) == ("a", False)
    assert tail.text(100, whole=True) == ("a\ufffd", False)
    tail.add(data[-1:])
    assert tail.text(100, whole=False) == (f"a{character}", False)


def test_bytes_that_are_no_text_count_as_what_they_become() -> None:
    tail = OutputTail(100)
    tail.add(b"\xff" * 10)
    assert tail.text(7, whole=True) == ("\ufffd" * 2, True)
    assert output_tail._complete(b"\x80\x80\x80\x80") == b"\x80\x80\x80\x80"


async def test_terminals_are_bounded_in_number(
    folder: Path, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest one whose command has ended makes room."""
    monkeypatch.setattr(client_terminals, "MAX_TERMINALS", 2)
    async with talking(folder, terminals=True) as talk:
        assert codes(
            await run(
                talk, holding(witness), sh("true"), terminal("wait_for_exit", 2), sh("cat hold"),
                terminal("output", 2), sh("true"), terminal("output", 1),
            )
        ) == [0, 0, 0, 0, MISSING, FAILED, 0]  # fmt: skip


async def test_requests_are_bounded_in_number(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MAX_SERVED", 0)
    async with talking(folder, terminals=True) as talk:
        assert codes(await run(talk, sh("true"))) == [FAILED]


async def test_terminals_of_another_conversation_cannot_be_reached(folder: Path) -> None:
    """Neither by its session, nor by the id of the terminal."""
    methods = ("output", "wait_for_exit", "kill", "release")
    async with talking(folder, terminals=True) as talk:
        (made,) = await run(talk, sh("true"))
        talk.agents.traits = Traits(session="session-2")
        await talk.renew()
        requests = [request(f"terminal/{one}", **made) for one in methods]
        assert codes(await run(talk, *requests)) == [MISSING] * 4
        requests = [request(f"terminal/{one}", **made, sessionId="session-1") for one in methods]
        assert codes(await run(talk, *requests)) == [INVALID] * 4
        assert len(talk.agents.started) == 2


# -- the ends --------------------------------------------------------------------------------


async def test_a_stop_ends_the_commands_before_the_next_reply(
    folder: Path, witness: Witness
) -> None:
    """A tool in a terminal has ended then, whether the agent tells of that or not."""
    async with talking(folder, terminals=True) as talk:
        stream = await begun(talk, holding(witness), shows_terminal("1"), pause())
        await talk.stop(stream)
        events = await talk.say(say("next"))
        assert witness.nobody_left()
        assert (text_of(events), notices(events)) == ("next", [])
        assert len(talk.agents.started) == 1


async def test_a_stop_ends_what_waits_for_a_person(folder: Path) -> None:
    async with talking(folder, terminals=True) as talk:
        stream = talk.begin(sh("touch made"))
        await until(stream, AskEvent)
        await talk.stop(stream)
        await talk.say(say("next"))
        assert codes(talk.agents.answers()) == [STOPPED]
    assert not (folder / "made").exists()


async def test_a_command_that_the_agent_withdraws_is_not_run(folder: Path) -> None:
    async with talking(folder, terminals=True) as talk:
        stream = talk.begin(sh("touch made"), say("on"))
        await until(stream, AskEvent)
        talk.agents.last.agent._do(notify("$/cancel_request", requestId=0))
        assert text_of([event async for event in stream]) == "on"
        assert codes(talk.agents.answers()) == [STOPPED]
    assert not (folder / "made").exists()


async def test_no_command_begins_without_a_prompt(folder: Path) -> None:
    async with talking(folder, terminals=True) as talk:
        await talk.say(say("on"))
        talk.agents.last.agent._do(sh("touch made"))
        await eventually(lambda: codes(talk.agents.answers()) == [STOPPED])
    assert not (folder / "made").exists()


async def test_a_command_goes_on_after_its_reply(folder: Path, witness: Witness) -> None:
    """Until its terminal is released, or its agent ends."""
    async with talking(folder, terminals=True) as talk:
        await run(talk, holding(witness))
        await eventually(lambda: not witness.nobody_left())
        (output,) = await run(talk, terminal("output"))
        assert "exitStatus" not in output
    assert witness.nobody_left()


async def keep_running(talk: Talk, witness: Witness) -> None:
    """Let a command begin that goes on after the reply."""
    stream = await begun(talk, holding(witness), shows_terminal("1"), pause(), say("on"))
    talk.agents.last.agent.go()
    assert [event async for event in stream]
    assert not witness.nobody_left()


async def test_the_commands_end_with_the_agent(folder: Path, witness: Witness) -> None:
    async with talking(folder, terminals=True) as talk:
        await keep_running(talk, witness)
        talk.agents.last.end(1)
        await witness.wait()


async def test_the_commands_end_with_the_conversation(folder: Path, witness: Witness) -> None:
    async with talking(folder, terminals=True) as talk:
        await keep_running(talk, witness)
        await talk.backend.delete(talk.conversation)
        await witness.wait()
        await eventually(lambda: not len(talk.backend._agents))


# -- what is shown ---------------------------------------------------------------------------


async def test_a_call_shows_the_output_of_its_terminal(folder: Path) -> None:
    """While it runs, and in its result, also if the terminal has been released by then."""
    os.mkfifo(folder / "gate")
    async with talking(folder, terminals=True) as talk:
        stream = talk.begin(
            sh("echo one; read line < gate; echo $line"), shows_terminal("1"),
            terminal("wait_for_exit"), terminal("release"),
            tool("1", again=True, status="completed"), say("done"),
        )  # fmt: skip
        await answer(stream, "allow")
        assert (await until(stream, ToolProgressEvent)).output == "one\n"
        (folder / "gate").write_text("two\n")
        rest = [event async for event in stream]
    assert "".join(one.output for one in of(ToolProgressEvent, rest)) == "two\n"
    (result,) = of(ToolResultEvent, rest)
    assert (result.call_id, result.output, result.is_error) == ("1", "one\ntwo\n", False)


async def test_what_was_printed_before_a_call_shows_it_is_shown(folder: Path) -> None:
    async with talking(folder, terminals=True) as talk:
        events = await allowed(
            talk.begin(sh("echo early"), terminal("wait_for_exit"), shows_terminal("1"))
        )
    assert [one.output for one in of(ToolProgressEvent, events)] == ["early\n"]
    assert [one.output for one in of(ToolResultEvent, events)] == ["early\n"]


async def test_long_output_is_shown_at_the_end(folder: Path) -> None:
    async with talking(folder, terminals=True) as talk:
        events = await allowed(
            talk.begin(
                sh("head -c 100000 /dev/zero | tr '\\0' x"), shows_terminal("1"),
                terminal("wait_for_exit"), tool("1", again=True, status="completed"),
            )
        )  # fmt: skip
    shown = "".join(one.output for one in of(ToolProgressEvent, events))
    assert len(shown) <= client_terminals.SHOWN
    assert [one.output for one in of(ToolResultEvent, events)] == ["x" * 100_000]
