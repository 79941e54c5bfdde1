"""Without a usable server, the service exits with 2 and one line that says why, but no secret."""

import asyncio
import sys
from pathlib import Path

import pytest
from aiohttp import web

from callboard_service.backends.opencode.child import environment
from tests.e2e.service_process import run
from tests.unit.callboard_service.backends.opencode.odd_server import answering, fixed

PASSWORD = "s3cr3t-of-this-test"


async def started(folder: Path, **settings: str) -> str:
    """Start a service that must fail; return the one line that it prints."""
    names = {f"CALLBOARD_OPENCODE_{name.upper()}": value for name, value in settings.items()}
    code, out, err = await asyncio.to_thread(run, folder, "serve", **names)
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, err
    assert PASSWORD not in err
    return lines[0]


def program(folder: Path, *lines: str) -> str:
    """Write a shell script to run in place of OpenCode; return its path."""
    path = folder / "opencode"
    path.write_text("\n".join(["#!/bin/sh", *lines]))
    path.chmod(0o755)
    return str(path)


async def test_a_wrong_password_a_web_page_and_a_closed_port_are_told_apart(tmp_path: Path) -> None:
    async with answering(fixed(401)) as url:
        assert "password" in await started(tmp_path, url=url, password=PASSWORD)
    assert "cannot be reached" in await started(tmp_path, url=url, password=PASSWORD)
    async with answering(fixed(200, "<html>", "text/html")) as url:
        assert "not an OpenCode server" in await started(tmp_path, url=url)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"url": "ftp://x"}, "http://"),
        ({"url": "http://a:b@127.0.0.1:1"}, "not contain a user or password"),
        ({"url": "http://127.0.0.1:1", "command": "x"}, "cannot be combined"),
        ({"password": PASSWORD}, "OPENCODE_URL"),
        ({"command": "/no/such/program"}, "/no/such/program"),
        ({"command": sys.executable, "directory": "/no/such/folder"}, "/no/such/folder"),
    ],
)
async def test_invalid_settings_are_reported(
    tmp_path: Path, settings: dict[str, str], reason: str
) -> None:
    assert reason in await started(tmp_path, **settings)


async def test_a_program_that_ends_or_says_something_else(tmp_path: Path) -> None:
    ends = program(tmp_path, "echo one; echo the reason >&2; exit 3")
    assert "ended before it was ready: one the reason" in await started(tmp_path, command=ends)
    endless = program(tmp_path, "exec head -c 100000 /dev/zero")
    assert "is not OpenCode" in await started(tmp_path, command=endless)


async def test_a_server_that_wants_no_password_is_refused(tmp_path: Path) -> None:
    async def healthy(request: web.Request) -> web.StreamResponse:
        return web.json_response({"healthy": True, "version": "1.18.33", "directory": "/"})

    async with answering(healthy) as url:
        says = program(tmp_path, f"echo opencode server listening on {url}", "exec sleep 600")
        assert "does not ask for the password" in await started(tmp_path, command=says)


def test_the_environment_is_the_services_without_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CALLBOARD_TOKEN", "hidden")
    monkeypatch.setenv("OPENCODE_SERVER_USERNAME", "other")
    monkeypatch.setenv("KEPT", "kept")
    given = environment(PASSWORD)
    assert given["OPENCODE_SERVER_PASSWORD"] == PASSWORD
    assert (given["OPENCODE_SERVER_USERNAME"], given["KEPT"]) == ("opencode", "kept")
    assert not [name for name in given if name.startswith("CALLBOARD_")]
