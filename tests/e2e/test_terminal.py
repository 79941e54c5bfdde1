"""`callboard chat` as a person and as a script use it, against a real service."""

import contextlib
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from click.testing import CliRunner

from callboard_service.cli import main
from tests.e2e.service_process import ServiceProcess, command, running
from tests.e2e.terminal import of, talking
from tests.support.peers.cutting_proxy import CuttingProxy

if TYPE_CHECKING:
    from collections.abc import Iterator


def once(
    folder: Path, service: ServiceProcess, *arguments: str, piped: str = ""
) -> tuple[int, str, str]:
    """Run `callboard chat` without a terminal; return exit code, standard output and error."""
    done = subprocess.run(
        command("chat", *arguments), input=piped, cwd=folder, env=of(folder, service),
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def inside(
    folder: Path, service: ServiceProcess, *arguments: str, piped: str = "", **settings: str
) -> tuple[int, str, str]:
    """Like `once`, but in this process: starting another takes longer than the command."""
    env = {
        key: value for key, value in of(folder, service).items() if key.startswith(("CALL", "XDG"))
    }
    result = CliRunner().invoke(main, ["chat", *arguments], input=piped, env=env | settings)
    return result.exit_code, result.stdout, result.stderr


@contextlib.contextmanager
def speaking(
    folder: Path, service: ServiceProcess, text: str
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run `callboard chat` with this text and its output in pipes; kill it on exit."""
    process = subprocess.Popen(
        command("chat", text), bufsize=0, cwd=folder, env=of(folder, service),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_a_person_talks(shared: ServiceProcess, tmp_path: Path) -> None:
    with talking(tmp_path, shared) as terminal:
        assert "backend echo" in terminal.prompt()

        # The tokens are shown while the reply waits for its ask to be answered.
        asked = terminal.say("[[reasoning:hm]][[repeat:3]][[ask:permission]] after")
        assert asked[:2] == ["hm", "000 001 002 "]
        assert asked[2:] == [
            "? A permission, asked by the text", "  1. once", "  2. always", "  3. reject",
        ]  # fmt: skip
        assert terminal.say("7")[-1].startswith("7 is not one of the answers")
        assert terminal.say("2") == ["always", " after"]

        tool = terminal.say('[[tool:read {"path": "x", "n": 1}]]')
        assert tool == ['tool read {"n": 1, "path": "x"}', "  read done"]
        failed = terminal.say("so [[error:UNAVAILABLE]]")
        assert failed[0].strip() == "so"
        assert re.fullmatch(r"UNAVAILABLE: .* \(trying again may help\)", failed[1])
        pasted = terminal.say("\x1b[200~a\x1b]0;pwned\x07\nb\x1b[201~")
        assert pasted == ["a␛]0;pwned␇", "b"]

        terminal.press("d")
        assert terminal.end()[0] == 0

    with talking(tmp_path, shared, "--continue") as terminal:
        recalled = terminal.prompt()
        assert "continuing: [[reasoning:hm]]" in recalled
        assert recalled.endswith("> a␛]0;pwned␇\n> b\na␛]0;pwned␇\nb\n\n")
        terminal.press("d")
        assert terminal.end()[0] == 0


def test_ctrl_c_ends_the_reply_and_not_the_program(shared: ServiceProcess, tmp_path: Path) -> None:
    with talking(tmp_path, shared) as terminal:
        terminal.prompt()
        terminal.type("[[delay:10]][[repeat:100000]]")
        terminal.until("004 ")
        terminal.press("c")
        assert terminal.prompt().strip().splitlines()[-1] == "cancelled"
        assert terminal.say("[[ask:question]]")[-1] == "  3. maybe"
        terminal.press("c")
        assert terminal.prompt().strip().endswith("cancelled")
        assert terminal.say("[[repeat:2]]") == ["000 001"]
        terminal.press("c")
        assert "Ctrl-C again" in terminal.prompt()
        terminal.press("c")
        assert terminal.end()[0] == 0


def test_a_cut_connection_costs_no_token_and_repeats_none(
    shared: ServiceProcess, tmp_path: Path
) -> None:
    host = f"127.0.0.1:{shared.port}"
    with CuttingProxy(shared.url, as_host=host) as proxy:
        flags = ("--url", f"ws://127.0.0.1:{proxy.port}/ws")
        with talking(tmp_path, shared, *flags, CALLBOARD_TOKEN=shared.token) as terminal:
            terminal.prompt()
            terminal.type("[[delay:5]][[repeat:200]]")
            shown = terminal.until("020 ") + "020 "
            for _ in range(3):
                proxy.cut()
                proxy.mend()
                shown += terminal.until("0 ") + "0 "
            shown += terminal.prompt()
            assert shown.split() == [f"{number:03}" for number in range(200)]
            terminal.press("d")
            assert terminal.end()[0] == 0


def test_one_shot_prints_just_the_reply(shared: ServiceProcess, tmp_path: Path) -> None:
    assert once(tmp_path, shared, "two  words\x1b\n\n") == (0, "two  words\x1b\n", "")
    assert inside(tmp_path, shared, "and", "--continue", piped="piped\n") == (
        0,
        "and\n\npiped\n",
        "",
    )


def test_one_shot_says_all_else_on_standard_error(shared: ServiceProcess, tmp_path: Path) -> None:
    text = '[[repeat:1]][[reasoning:hm]][[tool:read {"n": 1}]][[ask:question]]on[[error:ABORTED]]'
    code, out, err = inside(tmp_path, shared, piped=text)
    assert (code, out) == (1, "000 on\n")
    assert err.splitlines() == [
        'tool read {"n": 1}',
        "  read done",
        "? A question, asked by the text",
        "  1. yes",
        "  2. no",
        "  3. maybe",
        "callboard: declined, because nobody can answer here: A question, asked by the text",
        "callboard: ABORTED: the text asked for this error (trying again may help)",
    ]


def test_one_shot_declines_a_permission_whatever_is_piped_in(
    shared: ServiceProcess, tmp_path: Path
) -> None:
    code, out, err = inside(tmp_path, shared, "[[ask:permission]]on", piped="1\nonce\nalways\n")
    assert (code, out) == (0, "on\n\n1\nonce\nalways\n")
    assert err.splitlines() == [
        "? A permission, asked by the text",
        "  1. once",
        "  2. always",
        "  3. reject",
        "callboard: declined, because nobody can answer here: A permission, asked by the text",
    ]


def test_one_shot_on_a_terminal_does_not_steer_it(shared: ServiceProcess, tmp_path: Path) -> None:
    with talking(tmp_path, shared, "a\x1b[2Jb") as terminal:
        assert terminal.end() == (0, "a␛[2Jb\n")


def test_one_shot_is_cancelled_by_ctrl_c(shared: ServiceProcess, tmp_path: Path) -> None:
    with speaking(tmp_path, shared, "[[delay:5]][[repeat:100000]]") as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"000 "
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == b"callboard: cancelled\n"
    assert out.endswith(b"\n")


def test_one_shot_ends_quietly_when_nobody_reads(shared: ServiceProcess, tmp_path: Path) -> None:
    with speaking(tmp_path, shared, "[[repeat:10000000]]") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(4) == b"000 "
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 141


def test_one_shot_loses_its_service(echo: ServiceProcess, tmp_path: Path) -> None:
    with speaking(tmp_path, echo, "[[repeat:1]][[delay:60000]]on") as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"000 "
        echo.signal(signal.SIGKILL)
        echo.process.wait()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out == b"\n"
    assert err.startswith(b"callboard: no service is running ")
    assert err.endswith(b": the reply is lost\n")
    assert err.count(b"\n") == 1

    assert inside(tmp_path, echo, "hi")[0] == 3


def test_one_shot_sends_its_message_again_to_a_service_that_was_started_anew(
    echo: ServiceProcess, tmp_path: Path
) -> None:
    text = "[[repeat:1]][[tool:read {}]][[repeat:2]][[tool:read {}]][[delay:60000]]on"
    with speaking(tmp_path, echo, text) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = b""
        while said.count(b"read done") < 2:
            said += process.stderr.read(1)
        echo.signal(signal.SIGKILL)
        echo.process.wait()
        with running(tmp_path / "echo", "--backend", "echo"):
            out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out == b"000 000 001 \n"
    assert err == (b"\ncallboard: interrupted: the service ended while the reply was being made\n")


def test_a_service_that_is_named_by_its_url(shared: ServiceProcess, tmp_path: Path) -> None:
    def named(**settings: str) -> tuple[int, str, str]:
        return inside(tmp_path, shared, "hi", "--url", shared.url, **settings)

    assert named(CALLBOARD_TOKEN=shared.token) == (0, "hi\n", "")
    code, out, err = named(CALLBOARD_TOKEN="x" * 43)
    assert (code, out) == (3, "")
    assert "rejects the token: CALLBOARD_TOKEN" in err
    assert named() == (2, "", "callboard: --url requires the token in CALLBOARD_TOKEN\n")
    code, _, err = inside(tmp_path, shared, "hi", "--url", "foo", CALLBOARD_TOKEN=shared.token)
    assert (code, err.count("\n")) == (2, 1)
    assert "--url 'foo' is not the URL of a service; expected ws://HOST:PORT/ws" in err


def test_bad_use_is_one_line(shared: ServiceProcess, tmp_path: Path) -> None:
    nothing = "callboard: nothing to send: pass a text as an argument, or pipe one in\n"
    assert inside(tmp_path, shared, piped=" \n") == (2, "", nothing)
    assert inside(tmp_path, shared, "") == (2, "", nothing)
    code, out, err = inside(tmp_path, shared, "hi", CALLBOARD_PORT="many")
    assert (code, out) == (2, "")
    assert err.startswith("callboard: port: ")


def test_without_a_service_it_says_how_to_start_one(shared: ServiceProcess, tmp_path: Path) -> None:
    code, out, err = inside(tmp_path, shared, "hi", CALLBOARD_RUNTIME_DIR=str(tmp_path))
    assert (code, out) == (3, "")
    assert err == (
        "callboard: no service is running: "
        "start one with `callboard serve` (`make serve` in a checkout)\n"
    )
