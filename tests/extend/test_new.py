"""`callboard new` of the built wheel makes a package that installs, passes its CI and serves."""

import json
import os
import re
import shutil
import subprocess
import tomllib
import urllib.request
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from callboard_service.new import create
from tests.extend.pages import Reader, blocks
from tests.extend.wheel import ROOT, Installed, make_venv, own_environment
from tests.typing.checkers import PYRIGHT, needs_pyright

# It only ends tests that hang; none depends on time.
pytestmark = pytest.mark.timeout(600)

# The number of public attributes without a declared type, which may only go down.
INFERRED_TYPES = {"actors": 163, "transport": 0}
INFERRED = "Type is missing type annotation and could be inferred differently by type checkers"


@pytest.fixture(scope="session")
def project(installed: Installed) -> Path:
    """A package made by the installed `callboard new`, and then installed."""
    installed.out(str(installed.bin / "callboard"), "new", "my-weather")
    project = installed.folder / "my-weather"
    installed.install("--editable", str(project))
    return project


def test_the_source_tree_cannot_be_imported(installed: Installed) -> None:
    code = "import actors, sys; print(actors.__file__, *sys.path)"
    out = installed.out(str(installed.python), "-c", code)
    assert str(ROOT / "src") not in out
    assert str(installed.folder / "venv") in out.split()[0]


def test_the_wheel_serves_the_page_where_there_is_no_npm(installed: Installed) -> None:
    if not (ROOT / "src/callboard_service/page/index.html.gz").exists():
        assert os.environ.get("CI") != "true", "the page is not built"
        pytest.skip("the page is not built: `make page`, which needs npm")
    environment = installed.environment() | {"PATH": str(installed.bin)}
    assert shutil.which("npm", path=environment["PATH"]) is None
    command = [str(installed.bin / "callboard"), "serve", "--backend=echo", "--ready-json"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=installed.folder, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            url = json.loads(process.stdout.readline())["page"]
            with urllib.request.urlopen(url) as response:
                html = response.read().decode()
            (start,) = re.findall(r'<script type="pyodide".* src="/(page/[^"]+)"', html)
            with urllib.request.urlopen(url + start) as response:
                assert b"callboard_page" in response.read()
        finally:
            process.terminate()


def steps(project: Path) -> list[str]:
    """Return the commands of the package's CI, in order."""
    workflow = yaml.safe_load((project / ".github/workflows/ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    others = [step["uses"].partition("@")[0] for step in job["steps"] if "run" not in step]
    assert others == ["actions/checkout", "actions/setup-python"]  # the test does these itself
    return commands


def test_its_ci_passes_on_a_machine_with_nothing_of_it(
    installed: Installed, project: Path, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(project, checkout, ignore=shutil.ignore_patterns(".*_cache", "__pycache__"))
    (checkout / "wheels").mkdir(exist_ok=True)
    shutil.copy(installed.wheel, checkout / "wheels")
    environment = own_environment(make_venv(tmp_path / "python"), tmp_path)
    said = ""
    for command in steps(project):
        done = subprocess.run(
            # As GitHub runs them.
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", command],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        said += done.stdout
    assert "no issues found in 6 source files" in said
    assert "4 passed" in said


def test_what_its_ci_installs_is_what_it_is_tested_with_here(project: Path) -> None:
    said = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    for text in (*said["dependencies"], *said["optional-dependencies"]["dev"]):
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate():
            assert version(requirement.name) in requirement.specifier, text


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


def test_its_readme_is_true(installed: Installed, project: Path, tmp_path: Path) -> None:
    folder = tmp_path / project.name
    shutil.copytree(project, folder)
    environment = own_environment(make_venv(tmp_path / "python"), tmp_path)
    reader = Reader(folder, environment, {"PATH_OF_THE_CHECKOUT": str(ROOT)})
    try:
        for block in blocks(folder / "README.md"):
            reader.read(block)
    finally:
        reader.stop()


@needs_pyright
@pytest.mark.parametrize("package", ["actors", "transport"])
def test_no_public_name_is_partly_unknown(
    installed: Installed, tmp_path: Path, package: str
) -> None:
    node = shutil.which("node")
    assert node is not None, "pyright needs node"
    # With --verifytypes, pyright finds packages by a configuration file, not by --pythonpath.
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
        if "partially unknown" not in diagnostic["message"]  # consequences of another cause
    }
    # For example, an attribute set to a typed parameter: every checker infers the same type.
    assert causes <= {INFERRED, "Ambiguous base class override"}


@pytest.mark.parametrize("name", ["a", "abcdefgh" * 12, "Far-Away"])
def test_generated_code_is_what_protoc_writes_whatever_the_name(
    installed: Installed, tmp_path: Path, name: str
) -> None:
    create(tmp_path / name)
    installed.out(str(installed.python), "generate.py", "--check", cwd=tmp_path / name)
