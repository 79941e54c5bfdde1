"""The shape of the code: no import cycles, no long files, no long functions.

The rules for imports between packages and folders are in pyproject.toml (import-linter).
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("actors", "transport", "callboard_page", "callboard_service")
MAX_FILE, MAX_FUNCTION = 400, 50
"""Lines."""


def sources() -> list[Path]:
    return sorted(path for name in PACKAGES for path in (ROOT / "src" / name).rglob("*.py"))


def cycles(graph: grimp.ImportGraph) -> list[set[str]]:
    """Find the groups of modules that import each other, by Tarjan's algorithm."""
    found: list[set[str]] = []
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> None:
        index[module] = lowest[module] = len(index)
        stack.append(module)
        for other in graph.find_modules_directly_imported_by(module):
            if other not in index:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == index[module]:
            group = set(stack[stack.index(module) :])
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(group)

    for module in graph.modules:
        if module not in index:
            visit(module)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_at_run_time(package: str) -> None:
    assert cycles(grimp.build_graph(package, exclude_type_checking_imports=True)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_cycles_of_type_imports_stay_within_one_folder(package: str) -> None:
    for group in cycles(grimp.build_graph(package)):
        files = (module_path(module) for module in group)
        assert len({path.parent for path in files}) == 1, sorted(group)


def module_path(module: str) -> Path:
    path = ROOT.joinpath("src", *module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each function's name and its number of lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "src"))


def test_no_file_is_long_and_no_function() -> None:
    long = set()
    for path in sources():
        text = path.read_text("utf-8")
        if len(text.splitlines()) > MAX_FILE:
            long.add(name_of(path))
        for name, lines in functions(ast.parse(text)):
            if lines > MAX_FUNCTION:
                long.add(f"{name_of(path)}: {name}")
    assert long == set()
