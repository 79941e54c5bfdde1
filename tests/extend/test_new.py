"""`callboard new`: from the built wheel, a package that is installed, checked and served."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from callboard_service.errors import BadPath
from callboard_service.new import create
from tests.extend.wheel import ROOT, Installed
from tests.typing.test_typing import PYRIGHT, needs_pyright

pytestmark = pytest.mark.xdist_group("wheel")  # built once

# Public attributes without a type of their own, and what is made of them. It goes down only.
INFERRED_TYPES = {"actors": 181, "transport": 0}
INFERRED = "Type is missing type annotation and could be inferred differently by type checkers"


@pytest.fixture(scope="session")
def project(installed: Installed) -> Path:
    """A package that was made by the installed command, and is installed."""
    installed.out(str(installed.bin / "callboard"), "new", "my-weather")
    project = installed.folder / "my-weather"
    installed.install("--editable", str(project))
    return project


def test_the_source_tree_cannot_be_imported(installed: Installed) -> None:
    code = "import actors, sys; print(actors.__file__, *sys.path)"
    out = installed.out(str(installed.python), "-c", code)
    assert str(ROOT / "src") not in out
    assert str(installed.folder / "venv") in out.split()[0]


@pytest.mark.timeout(120)
def test_it_is_checked_tested_and_generated_anew(installed: Installed, project: Path) -> None:
    python = str(installed.python)
    assert "4 passed" in installed.out(python, "-m", "pytest", "-q", cwd=project)
    assert "no issues found in 6 source files" in installed.out(python, "-m", "mypy", cwd=project)
    installed.out(python, "generate.py", "--check", cwd=project)


@pytest.mark.timeout(120)
def test_a_wrong_reply_type_is_found_by_mypy_and_a_changed_message_by_the_check(
    installed: Installed, project: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    actors = copy / "src/my_weather/actors.py"
    right = actors.read_text()
    actors.write_text(re.sub(r"return Greeting\(.*\)", "return Tick(number=count)", right))
    done = installed.run(str(installed.python), "-m", "mypy", cwd=copy)
    assert done.returncode == 1
    assert 'Incompatible return value type (got "Tick", expected "Greeting")' in done.stdout
    proto = copy / "proto/my_weather/v1/messages.proto"
    proto.write_text(proto.read_text().replace("uint32 visits = 2", "uint64 visits = 2"))
    done = installed.run(str(installed.python), "generate.py", "--check", cwd=copy)
    assert done.returncode == 1
    assert "my_weather/v1/messages_pb2.py" in done.stderr
    installed.out(str(installed.python), "generate.py", cwd=copy)
    installed.out(str(installed.python), "generate.py", "--check", cwd=copy)


def test_it_is_served_and_called(installed: Installed, project: Path) -> None:
    log = installed.folder / "log.txt"
    with log.open("wb") as errors:
        service = subprocess.Popen(
            [str(installed.bin / "callboard"), "serve", "--backend=echo", "--ready-json"],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=installed.folder,
            env=installed.environment(),
        )
    assert service.stdout is not None
    with service, service.stdout:
        try:
            assert json.loads(service.stdout.readline() or "{}"), log.read_text()
            out = installed.out(str(installed.python), "call.py", cwd=project)
        finally:
            service.terminate()
    assert out.splitlines() == [
        "Hello, Ada! (visit 1)",
        "tick 1",
        "tick 2",
        "tick 3",
        "total 11",
        "total 13",
        "total 16",
    ]
    assert service.returncode == 0


@needs_pyright
@pytest.mark.timeout(120)
@pytest.mark.parametrize("package", ["actors", "transport"])
def test_no_public_name_is_partly_unknown(
    installed: Installed, tmp_path: Path, package: str
) -> None:
    node = shutil.which("node")
    assert node is not None, "pyright needs node"
    # With --verifytypes it looks where a configuration file says, not where --pythonpath does.
    where = {"venvPath": str(installed.folder), "venv": "venv"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(where))
    command = (node, str(PYRIGHT[-1]), "--outputjson", "--verifytypes", package, "--ignoreexternal")
    done = installed.run(*command, cwd=tmp_path)
    found = json.loads(done.stdout)["typeCompleteness"]
    counts = found["exportedSymbolCounts"]
    assert counts["withKnownType"] > 300
    assert counts["withUnknownType"] == 0
    assert counts["withAmbiguousType"] <= INFERRED_TYPES[package]
    causes = {
        diagnostic["message"].splitlines()[0]
        for symbol in found["symbols"]
        if symbol["isExported"]
        for diagnostic in symbol["diagnostics"]
        if "partially unknown" not in diagnostic["message"]  # what follows from a cause
    }
    # An attribute that is set to a typed parameter, and the like: inferred, and by all the same.
    assert causes <= {INFERRED, "Ambiguous base class override"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("json", "there is a module json already"),
        ("actors", "there is a module actors already"),
        ("class", "is no name for a package"),
        ("3d", "is no name for a package"),
        ("full", "exists, and is no empty folder"),
    ],
)
def test_a_path_that_cannot_be(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(BadPath, match=message):
        create(tmp_path / name)
    assert not (tmp_path / name / "README.md").exists()


@pytest.mark.parametrize("name", ["a", "abcdefgh" * 12, "Far-Away"])
def test_generated_code_is_what_protoc_writes_whatever_the_name(
    installed: Installed, tmp_path: Path, name: str
) -> None:
    create(tmp_path / name)
    installed.out(str(installed.python), "generate.py", "--check", cwd=tmp_path / name)
