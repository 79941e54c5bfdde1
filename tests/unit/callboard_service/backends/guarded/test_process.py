"""Real processes under a guardian: none is left, whatever they do."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from actors import Code, Failure
from tests.support.witness import Witness
from tests.unit.callboard_service.backends.guarded.processes import FAKE_PROGRAM, Running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

LONG = 600.0
"""Seconds that no test waits."""


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    made = Running(tmp_path, Witness(tmp_path))
    yield made
    await made.end()


async def refused(running: Running, command: list[str], settle: float = 0) -> Failure:
    with pytest.raises(Failure) as caught:
        await running.launch(command=command, settle=settle)
    return caught.value


async def test_ten_megabytes_go_through_unchanged(running: Running) -> None:
    data = random.Random(1).randbytes(10_000_000)
    agent = await running.start()
    for at in range(0, len(data), 1_000_000):
        agent.write(data[at : at + 1_000_000])
        await agent.drained()
    await running.received(len(b"ready\n") + len(data))
    assert running.output == b"ready\n" + data


async def test_an_agent_ends_when_its_input_is_closed_without_a_signal(running: Running) -> None:
    agent = await running.start()
    await agent.close(patience=LONG)
    assert running.witness.nobody_left()
    assert running.reports == []


async def test_what_was_written_is_read_before_the_end_of_the_input(running: Running) -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; open('read', 'wb').write(sys.stdin.buffer.read())",
    ]
    agent = await running.launch(command=command)
    agent.write(b"x" * 3_000_000)
    await agent.close(patience=LONG)
    assert (running.folder / "read").stat().st_size == 3_000_000


async def test_an_agent_that_ignores_sigterm_is_killed(running: Running) -> None:
    agent = await running.start("ignore", "deaf")
    await agent.close(patience=0, grace=0)
    assert running.witness.nobody_left()
    assert running.reports == [
        "sent SIGTERM to 1 processes of the agent",
        "sent SIGKILL to 1 processes of the agent",
    ]


@pytest.mark.parametrize("tool", ["tool", "detached", "headless"])
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("leave", "the agent ended with exit code 3"),
        ("SIGKILL", "the agent was killed by SIGKILL"),
        ("SIGTERM", "the agent was killed by SIGTERM"),
    ],
)
async def test_tools_end_with_their_agent_whatever_session_they_are_in(
    running: Running, end: str, reason: str, tool: str
) -> None:
    agent = await running.start(tool)
    if end == "leave":
        agent.write(b"leave")
    else:
        os.kill(agent.pid, signal.Signals[end])
    assert await running.reason() == reason
    await agent.close(patience=LONG)
    assert running.witness.nobody_left()


async def test_tools_end_when_the_agent_ends_with_its_input(running: Running) -> None:
    agent = await running.start("tool", "detached")
    await agent.close(patience=LONG)
    assert running.witness.nobody_left()


async def test_tools_that_ignore_sigterm_or_fork_at_it_are_killed(running: Running) -> None:
    agent = await running.start("stubborn", "forking", "forking", "deaf")
    await agent.close(patience=0, grace=0.05)
    assert running.witness.nobody_left()


SERVICE = """
import asyncio, os, sys
from pathlib import Path
from callboard_service.backends.guarded.process import GuardedProcess

def received(data):
    os.write(1, data)

async def main():
    agent = await GuardedProcess.start(
        sys.argv[1:], Path.cwd(), dict(os.environ), received=received, ended=print, report=print
    )
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_no_process_is_left_when_the_service_is_killed(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    agent = [*FAKE_PROGRAM, "ignore", "tool", "detached", "stubborn", "deaf"]
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVICE, *agent,
        cwd=tmp_path, env=os.environ | {"WITNESS": str(witness.path)},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert service.stdout is not None
    assert await service.stdout.readline() == b"ready\n"
    (guardian,) = psutil.Process(service.pid).children()
    service.kill()
    await service.wait()
    await witness.wait()
    gone, _ = await asyncio.to_thread(psutil.wait_procs, [guardian], 30)
    assert gone == [guardian]
    witness.close()


async def test_a_program_or_a_folder_that_does_not_exist(running: Running) -> None:
    failure = await refused(running, ["no-such-agent"])
    assert failure.code is Code.FAILED_PRECONDITION
    assert failure.message == "the program 'no-such-agent' was not found, or cannot be run"
    running.folder = running.folder / "gone"
    failure = await refused(running, FAKE_PROGRAM)
    assert failure.code is Code.FAILED_PRECONDITION
    assert failure.message == f"the folder {running.folder} does not exist"


async def test_a_file_that_is_not_a_program(running: Running) -> None:
    program = running.folder / "program"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o700)
    failure = await refused(running, [str(program)])
    assert failure.code is Code.FAILED_PRECONDITION
    assert failure.message == "the agent cannot be started: Exec format error"


async def test_an_agent_that_ends_at_once(running: Running) -> None:
    failure = await refused(running, ["sh", "-c", "echo no such model >&2; exit 7"], LONG)
    assert failure.code is Code.UNAVAILABLE
    assert failure.message.endswith("/sh: the agent ended with exit code 7: no such model")
    assert running.reasons == []


async def test_no_process_is_left_when_the_start_is_cancelled(running: Running) -> None:
    starting = asyncio.create_task(running.launch("detached", "ignore", settle=LONG))
    await running.until(b"ready\n")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert running.witness.nobody_left()


async def test_an_agent_that_does_not_read_makes_writers_wait_until_it_is_closed(
    running: Running,
) -> None:
    agent = await running.start("deaf")
    agent.write(b"x" * 5_000_000)
    drained = asyncio.create_task(agent.drained())
    done, _ = await asyncio.wait({drained}, timeout=0)
    assert not done
    await agent.close(patience=0, grace=0)
    await drained
    agent.write(b"more")
    assert running.witness.nobody_left()


async def test_the_end_of_an_agent_is_told_with_the_end_of_its_standard_error(
    running: Running,
) -> None:
    agent = await running.start("errors")
    agent.write(b"leave")
    reason = await running.reason()
    assert reason.startswith("the agent ended with exit code 3: xxxx")
    assert reason.endswith("x\nout of luck: api_key=***")
    assert 8_000 < len(reason) < 8_300
    await agent.close()
    assert running.reasons == [reason]


async def test_a_closed_agent_says_nothing_and_may_be_closed_again(running: Running) -> None:
    agent = await running.start("deaf")
    patient = asyncio.create_task(agent.close(patience=LONG))
    await asyncio.gather(agent.close(patience=0, grace=LONG), agent.close(patience=LONG))
    await patient
    await agent.close()
    assert running.reasons == []
    assert running.witness.nobody_left()


async def test_the_end_goes_on_when_its_caller_is_cancelled(running: Running) -> None:
    agent = await running.start("detached", "deaf")
    closing = asyncio.create_task(agent.close(patience=0, grace=0))
    await asyncio.wait({closing}, timeout=0)
    closing.cancel()
    await running.witness.wait()


async def test_an_agent_whose_guardian_is_killed_is_killed_too(running: Running) -> None:
    agent = await running.start("deaf")
    psutil.Process(psutil.Process(agent.pid).ppid()).kill()
    assert await running.reason() == "the guardian of the agent was killed"
    await running.witness.wait()
    await agent.close()


async def test_a_guardian_that_is_told_to_end_by_a_signal_kills_everything(
    running: Running,
) -> None:
    agent = await running.start("ignore", "stubborn", "deaf")
    psutil.Process(psutil.Process(agent.pid).ppid()).terminate()
    assert await running.reason() == "the agent was killed by SIGKILL"
    await agent.close()
    assert running.witness.nobody_left()


async def test_an_agent_has_its_folder_its_environment_and_no_other_descriptor(
    running: Running,
) -> None:
    inherited = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(inherited, True)
    code = (
        "import os; print(os.getcwd(), *sorted(os.environ), *sorted(os.listdir('/proc/self/fd')),"
        "os.getsid(0) == os.getpid()); print('ready')"
    )
    agent = await running.launch(command=[sys.executable, "-I", "-c", code])
    await running.until(b"ready\n")
    folder, *rest = running.output.decode().split("\n")[0].split()
    assert folder == str(running.folder)
    # The fourth is that of the folder which lists them.
    assert [word for word in rest if word != "LC_CTYPE"] == [
        "PATH", "WITNESS", "0", "1", "2", "3", "True",
    ]  # fmt: skip
    await agent.close()
    os.close(inherited)


async def test_the_guardian_imports_nothing_of_the_working_folder(running: Running) -> None:
    for name in ("contextlib", "os", "select", "signal", "sitecustomize", "ctypes", "time"):
        (running.folder / f"{name}.py").write_text("open('ran', 'w'); 1 / 0")
    agent = await running.start()
    await agent.close()
    assert not (running.folder / "ran").exists()


async def test_a_program_that_ends_while_it_is_started_is_told_of(running: Running) -> None:
    """The start may return before that, or after it."""
    await running.launch(command=["sh", "-c", "echo said; exit 7"])
    assert await running.reason() == "the agent ended with exit code 7"
    assert running.output == b"said\n"
