"""Stores in the data folder the last conversations of `callboard chat` and the lines typed in it.

If they cannot be stored, the chat goes on without them.
"""

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Final

from transport.folders import make_private

_LAST: Final = "chat-last.json"
_TYPED: Final = "chat-history"
_MAX_BYTES: Final = 64 * 1024


def _open_private(path: str, flags: int) -> int:
    """Open a file for `open(opener=...)`, creating it with mode 0600."""
    return os.open(path, flags, 0o600)


def write_new(path: Path, text: str) -> None:
    """Write a new file of mode 0600; if writing fails, remove it again.

    Raises FileExistsError, also if `path` is a link, and any other OSError.
    """
    with open(path, "x", encoding="utf-8", opener=_open_private) as file:
        try:
            file.write(text)
            file.flush()
        except OSError:
            path.unlink(missing_ok=True)
            raise


class Memory:
    """The last conversation of each backend, and the history of the input line."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def last(self, backend: str) -> str | None:
        """Return the id of the last conversation with this backend, or None if it is not known."""
        found = self._read().get(backend)
        return found if isinstance(found, str) else None

    def remember(self, backend: str, conversation: str) -> None:
        """Store the last conversation with this backend. The file is replaced atomically."""
        content = self._read() | {backend: conversation}
        draft = self._folder / f".{_LAST}.{secrets.token_hex(4)}"
        with contextlib.suppress(OSError):
            make_private(self._folder)
            try:
                write_new(draft, json.dumps(content))
                draft.replace(self._folder / _LAST)
            finally:
                draft.unlink(missing_ok=True)

    def typed(self) -> Path:
        """Return the path of the input history, after creating the file (0600) if possible."""
        path = self._folder / _TYPED
        with contextlib.suppress(OSError):
            make_private(self._folder)
            with open(path, "ab", opener=_open_private) as file:
                # An existing file may have a wider mode, from an earlier version or a copy.
                if hasattr(os, "fchmod") and os.fstat(file.fileno()).st_mode & 0o077:
                    os.fchmod(file.fileno(), 0o600)
        return path

    def _read(self) -> dict[str, object]:
        try:
            with (self._folder / _LAST).open(encoding="utf-8") as file:
                content = json.loads(file.read(_MAX_BYTES))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}
