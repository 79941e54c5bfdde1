#!/usr/bin/env bash
# kosoku runs Autobahn's WebSocket cases inside a test suite. One would guess that importing a library of test cases
# changes nothing for the tests beside it. In truth kosoku puts a stand-in for `pkg_resources` with a single function on
# the path and imports it, and from then on pytest's `monkeypatch.syspath_prepend` raises ImportError in every later test of
# that process: pytest looks whether `pkg_resources` has been imported, and then imports a function that the stand-in lacks.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pytest==9.2.0 kosoku==0.1.0 websockets==17.4

cat >"$folder/test_both.py" <<'PYTHON'
import asyncio
import sys

import pytest
from kosoku import run_fuzzingclient
from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def run_one_case() -> list[str]:
    async with serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        results = await run_fuzzingclient(f"ws://127.0.0.1:{port}", cases=["1.1.2"])
    return [result.behavior.value for result in results]


def test_before(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    assert "pkg_resources" not in sys.modules
    monkeypatch.syspath_prepend(tmp_path)


def test_after(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    assert asyncio.run(run_one_case()) == ["OK"]
    print("pkg_resources:", sys.modules["pkg_resources"].__file__.split("site-packages/")[1])
    monkeypatch.syspath_prepend(tmp_path)
PYTHON

"$folder/venv/bin/python" --version
"$folder/venv/bin/python" -m pip list --disable-pip-version-check 2>/dev/null | grep -iE '^(pytest|kosoku|websockets) '
cd "$folder"
"$folder/venv/bin/python" -m pytest -q -p no:cacheprovider test_both.py >output.txt 2>&1 || true
grep -E 'pkg_resources|ImportError|passed|failed' output.txt

grep -q "cannot import name 'fixup_namespace_packages' from 'pkg_resources'" output.txt
grep -q '1 failed, 1 passed' output.txt
echo 'As observed.'
