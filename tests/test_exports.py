"""Each module lists its exports at most once, and binds every name in the list."""

import ast
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src"
MODULES = sorted(path for path in SOURCES.rglob("*.py") if not path.name.endswith("_pb2.py"))


def exported(tree: ast.Module) -> list[list[str]]:
    """Return each `__all__` of a module; a later one would replace an earlier one."""
    return [
        ast.literal_eval(statement.value)
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and any(isinstance(name, ast.Name) and name.id == "__all__" for name in statement.targets)
    ]


def bound(tree: ast.Module) -> set[str]:
    """Return the names that a module binds."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def test_each_module_says_once_what_it_exports() -> None:
    found = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}
    lists = {path: exported(tree) for path, tree in found.items()}
    assert [path for path, all_of_it in lists.items() if len(all_of_it) > 1] == []
    for path, all_of_it in lists.items():
        for names in all_of_it:
            assert len(names) == len({*names}), path
            assert {*names} <= bound(found[path]), path
    assert sum(map(bool, lists.values())) > 5
