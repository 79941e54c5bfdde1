"""The compiled build, where `make compiled` runs it: its modules are what Python loads."""

import tomllib
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import BuiltinFunctionType, FunctionType

import pytest

from actors.protocol.machine import SessionMachine
from actors.requests.registry import Registry
from tools.compile import modules_of

ROOT = Path(__file__).parents[2]


def to_compile() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    config = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    return modules_of(config, ROOT / "src")


@pytest.mark.parametrize("name", to_compile())
def test_the_module_is_compiled(name: str) -> None:
    file = import_module(name).__file__
    assert file is not None
    assert file.endswith(tuple(EXTENSION_SUFFIXES))
    source = Path(file).with_name(name.rpartition(".")[2] + ".py")
    assert source.read_text() == (ROOT / "src" / f"{name.replace('.', '/')}.py").read_text()


def test_what_is_elsewhere_is_not_compiled() -> None:
    assert isinstance(Registry.register, FunctionType)
    assert not isinstance(SessionMachine.receive, FunctionType | BuiltinFunctionType)
