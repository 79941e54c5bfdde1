"""Check the locked packages for known vulnerabilities: `audit.py PIP_AUDIT LOCK...`.

Exit code 0: everything was audited and nothing is known; 1: there is a known vulnerability; 3: not
everything could be audited.
"""

import json
import subprocess
import sys
from typing import Final

CLEAN: Final = 0
VULNERABLE: Final = 1
NOT_AUDITED: Final = 3

_OPTIONS: Final = (
    "--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json",
)  # fmt: skip


def audit(program: str, lock: str) -> int:
    """Audit one lock file, print the result and return its exit code."""
    done = subprocess.run(
        [program, "--requirement", lock, *_OPTIONS], capture_output=True, text=True, check=False
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"{lock}: NOT audited: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
        return NOT_AUDITED
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    found = [
        f"{package['name']} {package['version']}: {one['id']}, mended in {one['fix_versions']}"
        for package in packages
        for one in package.get("vulns", [])
    ]
    for line in found:
        print(f"{lock}: {line}")
    if skipped:
        print(f"{lock}: NOT audited, {len(skipped)} of {len(packages)}: {' '.join(skipped)}")
    if not found and not skipped:
        print(f"{lock}: nothing is known against {len(packages)} packages")
    if found:
        return VULNERABLE
    return NOT_AUDITED if skipped else CLEAN


def main() -> int:
    """Audit all lock files and return the most severe exit code."""
    program, *locks = sys.argv[1:]
    outcomes = {audit(program, lock) for lock in locks}
    return next((code for code in (VULNERABLE, NOT_AUDITED) if code in outcomes), CLEAN)


if __name__ == "__main__":
    sys.exit(main())
