#!/usr/bin/env bash
# pytest-xdist 3.8.0 with pytest 9.2.0: one would expect tests with the same `xdist_group` to run in one worker under
# `--dist loadgroup`, as they do with pytest 9.0.2. They are spread over the workers: xdist adds the group's name to the private
# attribute `_nodeid` of a test, and pytest 9.2.0 makes the id from another one. There is no warning.
#
# What the tests of a group share, such as a server in a session fixture, is then made once in each worker.
#
# Needs: bash and python3 with venv.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat >test_group.py <<'PY'
import pytest

# Longer than a worker's first share of the tests.
@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(40))
def test_in_group(number, worker_id):
    with open("workers", "a") as file:
        print(worker_id, file=file)
PY

workers() { # print how many workers ran the group with this version of pytest
    python3 -m venv "venv-$1"
    "venv-$1/bin/pip" install --quiet --disable-pip-version-check "pytest==$1" pytest-xdist==3.8.0 >&2
    rm -f workers
    "venv-$1/bin/pytest" -q -n 2 --dist loadgroup -p no:cacheprovider >&2
    sort -u workers | wc -l
}

before=$(workers 9.0.2)
now=$(workers 9.2.0)
echo "workers that ran a group of 40 tests, of 2, with pytest-xdist 3.8.0: $before with pytest 9.0.2, $now with pytest 9.2.0"
[[ $before == 1 && $now == 2 ]]
echo "as expected: the group is ignored"
