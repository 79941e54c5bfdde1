"""The release workflow: what can be tested without a tag."""

import os
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import yaml

ROOT: Final = Path(__file__).parents[1]
ADDRESS: Final = "https://git.example/some/callboard"


def test_the_package_names_the_repository_that_released_it(tmp_path: Path) -> None:
    """The workflow's own step adds the addresses; all else stays as it is."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    steps = workflow["jobs"]["build"]["steps"]
    (command,) = (step["run"] for step in steps if step.get("name") == "Add [project.urls]")
    before = (ROOT / "pyproject.toml").read_text()
    released = tmp_path / "pyproject.toml"
    released.write_text(before)
    environment = {
        "PATH": os.environ["PATH"],
        "GITHUB_SERVER_URL": "https://git.example",
        "GITHUB_REPOSITORY": "some/callboard",
        "GITHUB_REF_NAME": "v1.2.3",
    }
    subprocess.run(["bash", "-euc", command], cwd=tmp_path, env=environment, check=True)
    expected = tomllib.loads(before)
    expected["project"]["urls"] = {
        "Repository": ADDRESS,
        "Issues": f"{ADDRESS}/issues",
        "Changelog": f"{ADDRESS}/blob/v1.2.3/CHANGELOG.md",
    }
    assert tomllib.loads(released.read_text()) == expected
