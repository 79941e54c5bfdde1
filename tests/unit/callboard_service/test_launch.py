"""Nothing in the working folder affects the programs that the service starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import callboard_service
from callboard_service.launch import (
    find_program,
    leave_working_folder_out,
    own_environment,
    python_environment,
    python_module,
)

TRAPS = ("typing", "json", "ctypes", "os", "sitecustomize", "usercustomize", "re", "xllamacpp")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with modules that create the file `ran` when imported."""
    for name in TRAPS:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w'); 1 / 0")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", [None, "", ".", f":{os.sep}gone", "sub/.."])
def test_the_model_s_process_imports_nothing_of_the_working_folder(
    clone: Path, monkeypatch: pytest.MonkeyPatch, path: str | None
) -> None:
    if path is not None:
        monkeypatch.setenv("PYTHONPATH", path)
    (clone / "scratch").mkdir()
    done = subprocess.run(
        python_module("callboard_service.backends.local.child", "--model", "gone.gguf"),
        env=python_environment(),
        cwd=clone / "scratch",
        capture_output=True,
        text=True,
    )
    assert "there is no model file gone.gguf" in done.stdout, done.stderr
    assert not (clone / "ran").exists()


def test_a_model_s_process_in_the_working_folder_imports_nothing_of_it(clone: Path) -> None:
    done = subprocess.run(
        python_module("callboard_service.backends.local.child", "--model", "gone.gguf"),
        env=python_environment(),
        cwd=clone,
        capture_output=True,
        text=True,
    )
    assert "there is no model file gone.gguf" in done.stdout, done.stderr
    assert not (clone / "ran").exists()


def test_children_of_a_child_leave_the_working_folder_out_too(clone: Path) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'json', '-h'])"
    subprocess.run([sys.executable, "-c", code], env=python_environment(), capture_output=True)
    assert not (clone / "ran").exists()


def test_absolute_entries_of_the_path_stay_and_so_does_the_one_that_we_come_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = Path(callboard_service.__file__).parents[1]
    monkeypatch.chdir(root.parent)
    entries = [str(tmp_path), "", root.name, ".", "tests"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entries))
    assert python_environment()["PYTHONPATH"] == os.pathsep.join([str(tmp_path), str(root)])
    monkeypatch.setenv("PYTHONPATH", "")
    assert "PYTHONPATH" not in python_environment()


@pytest.mark.parametrize(
    ("path", "stays"),
    [("", True), (f":{os.sep}gone", False), (".", False), ("sub", True), ("{0}", True)],
)
def test_a_relative_entry_of_the_path_does_not_keep_the_working_folder_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, stays: bool
) -> None:
    """Without such an entry, the folder was put on the path on purpose and stays."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", path.replace(":", os.pathsep).format(tmp_path))
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *before])
    leave_working_folder_out()
    assert sys.path == [str(tmp_path)] * stays + before


def test_no_setting_of_ours_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBOARD_TOKEN", "secret")
    monkeypatch.setenv("callboard_openai_api_key", "secret")
    assert "secret" not in own_environment().values()
    assert "secret" not in python_environment().values()


def program(path: Path) -> Path:
    path = path.with_name(path.name + (".exe" if sys.platform == "win32" else ""))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_program_of_the_working_folder_is_not_taken_for_one_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program(tmp_path / "opencode")
    program(tmp_path / "sub" / "opencode")
    for path in ("", ".", "sub", os.pathsep, f"{os.pathsep}sub{os.pathsep}."):
        assert find_program("opencode", os.environ | {"PATH": path}) is None
    installed = program(tmp_path / "bin" / "opencode")
    path = os.pathsep.join(["", ".", "sub", str(installed.parent)])
    assert find_program("opencode", os.environ | {"PATH": path}) == str(installed)


def test_a_path_that_was_named_is_taken_and_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is started in the project's folder, where a relative path leads elsewhere."""
    monkeypatch.chdir(tmp_path)
    mine = program(tmp_path / "mine" / "opencode")
    assert find_program(os.path.join("mine", mine.name)) == str(mine)
    assert find_program(str(mine)) == str(mine)
    assert find_program(os.path.join("mine", "gone")) is None
