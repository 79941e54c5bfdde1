"""`callboard chat` in a terminal, with the real OpenCode server behind the service."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.service_process import ServiceProcess, told
from tests.e2e.terminal import Terminal, talking
from tests.support.peers.cutting_proxy import CuttingProxy
from tests.support.peers.opencode_server import OpenCodeServer
from tests.support.peers.scripted_llm import ScriptedLLM, call, cut, fail, say, script, think, wait
from tests.support.peers.talk import questions

USED = "context 18 of 128,000 tokens (0%)"
"""The line after a reply: what the scripted model counts for its last step."""


@pytest.fixture
def terminal(service: ServiceProcess, proxy: CuttingProxy, tmp_path: Path) -> Iterator[Terminal]:
    proxy.mend()
    with talking(tmp_path, service) as terminal:
        assert "backend opencode" in terminal.prompt()
        yield terminal
        terminal.press("d")
        assert terminal.end()[0] == 0


def test_text_reasoning_and_tools(terminal: Terminal, server: OpenCodeServer) -> None:
    (server.project / "here.txt").write_text("the text of it")
    paths = [str(server.project / name) for name in ("here.txt", "missing.txt")]
    reads = [call("read", filePath=path) for path in paths]
    shown = terminal.say(script([think("let me see"), *reads], [say("both ", "read")]))
    assert shown[0] == "let me see"
    for path in paths:
        assert f'tool read {{"filePath": "{path}"}}' in shown
    assert any("the text of it" in line for line in shown)
    assert "  tool read failed" in shown
    assert shown[-2:] == ["both read", USED]


REJECT = "  3. reject (Reject once)"


def test_permissions(terminal: Terminal, llm: ScriptedLLM) -> None:
    def bash(command: str) -> str:
        step = call("bash", command=command, description="print")
        return script([step], [say("went on")])

    asked = terminal.say(bash("printf first"))
    scope = "Always allow printf * in this project, until OpenCode ends"
    assert asked[-3:] == ["  1. once (Allow once)", f"  2. always ({scope})", REJECT]
    assert any("printf first" in line for line in asked)
    once = terminal.say("1")
    assert (once[0], *once[-2:]) == ("once", "went on", USED)
    assert any("first" in line for line in once)

    assert terminal.say(bash("basename second"))[-1] == REJECT
    assert terminal.say("always")[-2:] == ["went on", USED]
    again = terminal.say(bash("basename second"))
    assert not [line for line in again if line.startswith("?")]
    assert again[-2:] == ["went on", USED]

    assert terminal.say(bash("printf third"))[-1] == REJECT
    refused = terminal.say("3")
    assert any(line.startswith("  tool bash") and line.endswith("failed") for line in refused)
    assert "went on" not in refused

    text = bash("printf fourth")
    assert terminal.say(text)[-1] == REJECT
    assert terminal.say("3: use echo instead")[-2:] == ["went on", USED]
    assert "use echo instead" in llm.about(text)[-1].tool_results[-1]


def test_questions(terminal: Terminal, llm: ScriptedLLM) -> None:
    text = script([questions("Really?", "And which?", multiple=True)], [say("thanks")])
    asked = terminal.say(text)
    details = ["  | Yes: do it", "  | No: leave", "  1. Yes", "  2. No"]
    assert asked[-5:] == ["? Really?", *details]
    second = terminal.say("1, 2")
    assert second[0] == "Yes, No"
    assert second[-5:] == ["? And which?", *details]
    assert terminal.say("in my own words")[-2:] == ["thanks", USED]
    assert "in my own words" in llm.about(text)[-1].tool_results[-1]

    assert terminal.say(script([questions("Well?")], [say("never")]))[-1] == "  2. No"
    assert "never" not in terminal.say("")


def test_failures_are_told_and_what_comes_twice_is_said_to_be_void(
    terminal: Terminal, llm: ScriptedLLM
) -> None:
    shown = terminal.say(script([fail(500, 2, retry_after_ms="20"), say("recovered")]))
    assert len([line for line in shown if "scripted failure 500" in line]) == 2
    assert shown[-2:] == ["recovered", USED]

    terminal.type(script([say("a ", "b "), wait("terminal-cut"), cut(), say("c")]))
    assert terminal.until("a b ").strip() == ""
    llm.go("terminal-cut")
    rest = terminal.prompt().strip().splitlines()
    assert "the last 2 tokens above are void and will be sent again" in rest
    assert rest[-2:] == ["a b c", USED]

    for status, code in ((400, "INVALID_ARGUMENT"), (401, "UNAUTHENTICATED")):
        assert terminal.say(script([fail(status)]))[-1].startswith(f"{code}: ")
    assert terminal.say(script([say("better")])) == ["better", USED]


def test_ctrl_c_in_text_in_a_tool_in_a_retry_and_in_an_ask(
    terminal: Terminal, llm: ScriptedLLM, server: OpenCodeServer
) -> None:
    def cancelled() -> bool:
        terminal.press("c")
        return terminal.prompt().strip().splitlines()[-1] == "cancelled"

    terminal.type(script([say("half "), wait("never")]))
    terminal.until("half ")
    assert cancelled()

    terminal.type(script([call("bash", command="sleep 60", description="rest")]))
    terminal.prompt()
    terminal.type("1")
    terminal.until("once")
    assert cancelled()

    terminal.type(script([fail(500, retry_after_ms="60000")]))
    terminal.until("scripted failure 500")
    assert cancelled()

    assert terminal.say(script([questions("Well?")]))[-1] == "  2. No"
    assert cancelled()
    assert terminal.say(script([say("alive")])) == ["alive", USED]


def test_a_cut_between_service_and_server_loses_no_word(
    terminal: Terminal, llm: ScriptedLLM, proxy: CuttingProxy
) -> None:
    text = script([say("one "), wait("terminal-gap"), say("two ", "three")])
    terminal.type(text)
    terminal.until("one ")
    proxy.cut()
    llm.go("terminal-gap")
    assert llm.about(text)[0].ended.wait(20)
    proxy.mend()
    assert re.sub(r"\s+", " ", terminal.prompt()).strip() == f"two three {USED}"


def test_two_people_at_once_and_a_conversation_deleted_under_a_reply(
    terminal: Terminal, service: ServiceProcess, llm: ScriptedLLM, tmp_path: Path
) -> None:
    with talking(tmp_path / "other", service) as other:
        other.prompt()
        both = {terminal: "terminal-one", other: "terminal-two"}
        for person, gate in both.items():
            person.type(script([say(f"{gate} "), wait(gate), say("done")]))
            person.until(f"{gate} ")
        for person, gate in reversed(both.items()):
            llm.go(gate)
            assert person.prompt().strip().splitlines() == ["done", USED]

        other.type(script([say("still "), wait("never")]))
        other.until("still ")
        code, listed, _ = told(service, tmp_path, "sessions", "list", "--json")
        assert code == 0
        newest = json.loads(listed)[0]["id"]
        assert told(service, tmp_path, "sessions", "delete", "--yes", newest)[0] == 0
        assert other.prompt().strip().splitlines()[0].startswith("CANCELLED")
        other.press("d")
        assert other.end()[0] == 0
