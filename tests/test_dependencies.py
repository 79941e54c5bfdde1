"""Each dependency is listed in docs/dependencies.md, and is used where the list says."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| ([\w-]+) \| (.+) \| `([^`]+)` in `([^`]+)` \|$", re.MULTILINE)


def test_each_dependency_is_listed_and_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = [
        *project["project"]["dependencies"],
        *(one for extra in project["project"]["optional-dependencies"].values() for one in extra),
        *(one for group in project["dependency-groups"].values() for one in group),
    ]
    wanted = {canonicalize_name(Requirement(line).name) for line in lines}
    rows = ROW.findall((ROOT / "docs" / "dependencies.md").read_text())
    assert {name for name, *_ in rows} == wanted
    unused = [name for name, _, what, where in rows if what not in (ROOT / where).read_text()]
    assert unused == []
