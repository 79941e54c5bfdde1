"""`python -m tests.fuzz TARGET [options of libFuzzer]`: what `make fuzz` runs."""

import sys

import atheris

with atheris.instrument_imports(include=["actors", "transport"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until libFuzzer stops."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


main()
