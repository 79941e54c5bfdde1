"""The compiled build, where `make compiled` runs it: its modules are what Python loads."""

import tomllib
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import BuiltinFunctionType, FunctionType

import pytest

from actors.protocol.machine import SessionMachine
from actors.requests.registry import Registry

ROOT = Path(__file__).parents[2]


def listed() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    modules = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]
    assert isinstance(modules, list)
    return modules


@pytest.mark.parametrize("name", listed())
def test_the_module_is_compiled(name: str) -> None:
    file = import_module(name).__file__
    assert file is not None
    assert file.endswith(tuple(EXTENSION_SUFFIXES))
    source = Path(file).with_name(name.rpartition(".")[2] + ".py")
    assert source.read_text() == (ROOT / "src" / f"{name.replace('.', '/')}.py").read_text()


def test_what_is_not_listed_is_not_compiled() -> None:
    assert isinstance(Registry.register, FunctionType)
    assert not isinstance(SessionMachine.receive, FunctionType | BuiltinFunctionType)
