#!/usr/bin/env bash
# mypyc compiles modules with dataclasses and modules with generic classes. One would guess that it compiles a generic dataclass
# as well, or says that it cannot. In truth it compiles one without a word, and the compiled module raises AttributeError when
# it is imported. The same module runs uncompiled, and each of the two by itself runs compiled.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check mypy==2.4.1 setuptools==84.2.1

mkdir "$folder/dataclass" "$folder/generic" "$folder/both"
cat >"$folder/dataclass/boxes.py" <<'PYTHON'
from dataclasses import dataclass


@dataclass
class Box:
    value: int
PYTHON
cat >"$folder/generic/boxes.py" <<'PYTHON'
from typing import Generic, TypeVar

T = TypeVar("T")


class Box(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value
PYTHON
cat >"$folder/both/boxes.py" <<'PYTHON'
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class Box(Generic[T]):
    value: T
PYTHON

"$folder/venv/bin/python" --version
"$folder/venv/bin/python" -m pip list --disable-pip-version-check 2>/dev/null | grep -iE '^(mypy|setuptools) '
show='import boxes; print(boxes.__file__.rpartition(".")[2], boxes.Box(1).value)'
for kind in dataclass generic both; do
    cd "$folder/$kind"
    echo "$kind, as it is: $("$folder/venv/bin/python" -B -c "$show")"
    "$folder/venv/bin/mypyc" boxes.py >compiled.txt 2>&1
    "$folder/venv/bin/python" -B -c "$show" >output.txt 2>&1 || true
    echo "$kind, compiled: $(tail -n 1 output.txt)"
done

grep -qE '^(so|pyd) 1' "$folder/dataclass/output.txt"
grep -qE '^(so|pyd) 1' "$folder/generic/output.txt"
grep -q "^AttributeError: attribute '__dict__' of 'type' objects is not writable" "$folder/both/output.txt"
echo 'As observed.'
