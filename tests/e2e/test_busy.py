"""What the commands do while the service is full."""

import subprocess
from pathlib import Path
from typing import IO

import pexpect

from tests.e2e.busy_service import BusyService, busy_service
from tests.e2e.service_process import command, environment
from tests.e2e.terminal import OPENED, spawned


def start(folder: Path, service: BusyService, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(*arguments, "--url", service.url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(folder, CALLBOARD_TOKEN="x" * 43),
    )


def until(lines: IO[str] | None, text: str) -> None:
    """Read lines until one contains this text; fail if none does."""
    assert lines is not None
    assert any(text in line for line in iter(lines.readline, "")), text


def test_a_command_waits_a_little_for_a_full_service(tmp_path: Path) -> None:
    with busy_service() as service:
        service.full = True
        with start(tmp_path, service, "sessions", "list", "--json") as listing:
            service.wait_until_it_has_refused()
            service.full = False
            assert listing.communicate(timeout=30) == ("[]\n", "")
        assert listing.returncode == 0


def test_a_command_says_in_the_end_that_the_service_is_full(tmp_path: Path) -> None:
    with busy_service() as service:
        service.full = True
        with start(tmp_path, service, "chat", "hi") as chat:
            out, err = chat.communicate(timeout=30)
        assert (chat.returncode, out) == (3, "")
        assert err == (
            f"callboard: the service at {service.url} is full or shutting down: "
            "try again later (HTTP 503)\n"
        )


def test_status_watch_waits_for_a_full_service_and_says_so(tmp_path: Path) -> None:
    with busy_service() as service:
        service.full = True
        with start(tmp_path, service, "status", "--watch") as watch:
            try:
                until(watch.stderr, "is full or shutting down; trying again")
                service.full = False
                until(watch.stdout, "busy, up")
                service.throw_out()
                until(watch.stdout, "is full or shutting down; trying again")
                service.full = False
                until(watch.stdout, "busy, up")
            finally:
                watch.kill()


def test_a_person_who_chats_waits_for_a_full_service_and_is_told(tmp_path: Path) -> None:
    with busy_service() as service:
        service.full = True
        env = environment(tmp_path, CALLBOARD_TOKEN="x" * 43)
        chat = spawned("chat", "--url", service.url, env=env, size=(24, 120))
        chat.expect_exact("is full or shutting down; trying again")
        service.full = False
        chat.expect_exact("backend busy")
        chat.expect_exact(OPENED)
        chat.sendcontrol("d")
        chat.expect(pexpect.EOF)
        chat.close()
        assert chat.exitstatus == 0
