"""`callboard chat` on conversations that go on without it, and that others see too."""

import signal
from pathlib import Path

from tests.e2e.service_process import ServiceProcess, running, told
from tests.e2e.terminal import talking

SLOW = "[[delay:20]][[repeat:300]]"
NUMBERS = [f"{number:03}" for number in range(300)]


def test_continue_joins_a_running_reply_in_the_middle(
    shared: ServiceProcess, tmp_path: Path
) -> None:
    """A terminal that continues during a reply shows all of it, and follows it to its end."""
    with talking(tmp_path, shared) as first:
        first.prompt()
        first.type(SLOW)
        first.until("010 ")
        with talking(tmp_path, shared, "--continue") as second:
            second.until("continuing: ")
            second.until(f"> {SLOW}")
            assert second.prompt().split() == NUMBERS
        assert first.prompt().split()[-1] == "299"


def test_a_second_terminal_sees_a_reply_live_and_answers_its_ask(
    shared: ServiceProcess, tmp_path: Path
) -> None:
    """A terminal at its prompt shows another one's turn, answers it, and keeps its own line."""
    with talking(tmp_path, shared) as first:
        first.prompt()
        first.say("hello")
        with talking(tmp_path, shared, "--continue") as second:
            assert second.prompt().endswith("> hello\nhello\n\n")
            second.child.send("half a li")
            second.until("half a li")
            first.type("so [[ask:permission]] after")
            first.prompt()
            shown = second.prompt()
            assert "> so [[ask:permission]] after\nso \n? A permission" in shown
            second.type("2")
            assert "answered elsewhere: always\n after" in first.prompt()
            assert " after" in second.prompt()
            second.until("half a li")
            second.child.send("ne\r")
            assert second.prompt().strip().endswith("half a line")
            assert first.prompt().strip().endswith("> half a line\nhalf a line")


def test_ctrl_d_leaves_the_reply_running(shared: ServiceProcess, tmp_path: Path) -> None:
    """Ctrl-D during a reply ends the program only, and a later one shows the reply's end."""
    with talking(tmp_path, shared) as terminal:
        terminal.prompt()
        terminal.type(f"{SLOW}[[delay:0]][[ask:question]]the end")
        terminal.until("003 ")
        terminal.press("d")
        code, shown = terminal.end()
        assert code == 0
        assert "the reply goes on; `callboard chat --continue` shows it" in shown
    assert "running" in states(shared, tmp_path)
    with talking(tmp_path, shared, "--continue") as terminal:
        terminal.until("? A question, asked by the text")
        terminal.prompt()
        assert "waiting" in states(shared, tmp_path)
        assert terminal.say("maybe")[-1] == "the end"
        assert "idle" in states(shared, tmp_path)


def states(service: ServiceProcess, folder: Path) -> list[str]:
    """Return the words of the row of the conversation that was changed last."""
    return told(service, folder, "sessions", "list")[1].splitlines()[1].split()


def test_a_reply_that_a_crash_interrupted_is_told_with_what_was_kept(
    echo: ServiceProcess, tmp_path: Path
) -> None:
    """After kill -9 and a restart the chat says what happened, keeps the text, and goes on."""
    with talking(tmp_path, echo) as terminal:
        terminal.prompt()
        terminal.type("[[repeat:3]][[tool:read {}]][[repeat:2]][[delay:60000]]never")
        shown = terminal.until("read done")
        assert "000 001 002 " in shown
        terminal.until("001 ")
        echo.signal(signal.SIGKILL)
        echo.process.wait()
        assert "no connection to the service" in terminal.until("trying again …")
        with running(tmp_path / "echo", "--backend", "echo"):
            after = terminal.prompt()
            assert "reconnected, backend echo\n" in after
            assert "interrupted: the service ended while the reply was being made" in after
            assert "002" not in after
            assert terminal.say("[[repeat:2]]") == ["000 001"]
            terminal.press("d")
            assert terminal.end()[0] == 0


def test_a_message_sent_while_the_service_is_away_is_sent_once(
    echo: ServiceProcess, tmp_path: Path
) -> None:
    """A message typed during an outage waits for the service, and enters the history once."""
    with talking(tmp_path, echo) as terminal:
        terminal.prompt()
        assert terminal.say("one") == ["one"]
        echo.signal(signal.SIGKILL)
        echo.process.wait()
        terminal.type("two")
        with running(tmp_path / "echo", "--backend", "echo") as service:
            assert terminal.prompt().strip().splitlines()[-1] == "two"
            name = told(service, tmp_path, "sessions", "list")[1].splitlines()[1].split()[0]
            shown = told(service, tmp_path, "sessions", "show", name)[1]
            assert shown.count("## You") == 2


def test_a_line_typed_during_a_reply_is_the_next_message(
    shared: ServiceProcess, tmp_path: Path
) -> None:
    """The first key opens the input line; the reply goes on below it, and the next one follows."""
    with talking(tmp_path, shared) as terminal:
        terminal.prompt()
        terminal.type("[[delay:20]][[repeat:30]]")
        shown = terminal.until("003 ")
        terminal.child.send("ahead\r")
        shown += "003 " + terminal.prompt()
        rest = terminal.prompt()
        assert "queued, place 1; /queue shows the queue\n" in rest
        reply, _, queued = rest.partition("> ahead\n")[2].partition("\n\n")
        shown += reply.partition("shows the queue\n")[2]
        assert shown.split() == [f"{number:03}" for number in range(30)]
        assert queued == "> ahead\nahead\n\n"


def test_a_reply_is_stopped_from_another_terminal(shared: ServiceProcess, tmp_path: Path) -> None:
    """Ctrl-C in a terminal that follows stops the reply for the one that asked for it, too."""
    with talking(tmp_path, shared) as first:
        first.prompt()
        first.type("[[delay:10]][[repeat:100000]]")
        first.until("004 ")
        with talking(tmp_path, shared, "--continue") as second:
            second.until("004 ")
            second.press("c")
            assert second.prompt().strip().endswith("cancelled")
        assert "CANCELLED: " in first.prompt()


def test_a_conversation_that_is_deleted_is_told_at_the_prompt(
    shared: ServiceProcess, tmp_path: Path
) -> None:
    """Once another client deletes the conversation, the next message starts a new one."""
    with talking(tmp_path, shared) as terminal:
        terminal.prompt()
        terminal.say("one")
        name = told(shared, tmp_path, "sessions", "list")[1].splitlines()[1].split()[0]
        assert told(shared, tmp_path, "sessions", "delete", "--yes", name)[0] == 0
        assert "no longer has this conversation; starting a new one\n" in terminal.prompt()
        assert terminal.say("two") == ["two"]
