"""The entry point of the command `callboard`. Opens closed standard descriptors before all else."""

import sys

from callboard_service.descriptors import open_standard_descriptors

EXIT_BAD_USE = 2


def main() -> None:
    """Run the command line. An OSError is printed on one line and ends it with exit code 2."""
    open_standard_descriptors()
    try:
        from callboard_service.cli import main as run

        run()
    except OSError as error:
        from callboard_service.errors import describe_os_error

        sys.stderr.write(f"callboard: {describe_os_error(error)}\n")
        sys.exit(EXIT_BAD_USE)
