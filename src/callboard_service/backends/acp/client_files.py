"""The files of a folder, which an agent reads and writes through the service.

Paths are resolved first, so neither `..` nor a symbolic link leads out of the folder. A program
that replaces a folder by a link at the right moment can still lead out of it: this guards against
mistakes of an agent, which is a program of the same user.
"""

import os
import stat
from contextlib import suppress
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Final

from callboard_service.backends.acp.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    NOT_FOUND,
    Unserved,
)
from callboard_service.backends.fields import Table, number, raw_text

MAX_FILE: Final = 4 * 1024 * 1024
"""Bytes of a file that is read or written."""


class ClientFiles:
    """The files of a folder. All methods but `__init__` block, and raise Unserved."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, params: Table) -> Path:
        """Return the path that a request names, resolved: it is in the folder."""
        named = raw_text(params, "path")
        if not os.path.isabs(named):
            raise Unserved(INVALID_PARAMS, "the path is not absolute")
        try:
            place, folder = Path(named).resolve(), self._folder.resolve()
        except (OSError, ValueError, RuntimeError):  # a loop of links, or a NUL
            raise Unserved(INVALID_PARAMS, "the path cannot be resolved") from None
        if not place.is_relative_to(folder):
            raise Unserved(INVALID_PARAMS, f"the path is not in {folder}")
        return place

    def read(self, params: Table) -> Table:
        """Answer `fs/read_text_file`."""
        place = self.place(params)
        text = self.text(place)
        if text is None:
            raise Unserved(NOT_FOUND, "there is no such file")
        first, limit = max(number(params, "line"), 1), params.get("limit")
        if first > 1 or limit is not None:
            last = first - 1 + number(params, "limit") if limit is not None else None
            text = "".join(islice(text.splitlines(keepends=True), first - 1, last))
        return {"content": text}

    def text(self, place: Path) -> str | None:
        """Return the text of a file; None if there is none."""
        try:
            # A pipe would make the call wait for a writer.
            descriptor = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise Unserved(INVALID_PARAMS, "that is no file")
                data = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unserved(INTERNAL_ERROR, str(error.strerror)) from None
        if len(data) > MAX_FILE:
            raise Unserved(INTERNAL_ERROR, f"the file is larger than {MAX_FILE} bytes")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise Unserved(INTERNAL_ERROR, "the file is not text in UTF-8") from None

    def replace(self, params: Table, place: Path, old: str | None, content: str) -> None:
        """Write the file at `place`, unless it is another one, or has changed, since it was seen.

        old: its text then; None: there was none.
        """
        if self.place(params) != place or self.text(place) != old:
            raise Unserved(INTERNAL_ERROR, "the file has changed meanwhile")
        _write(place, content)


def _write(place: Path, content: str) -> None:
    """Write a file as a whole, with the permissions that it had. Raises Unserved."""
    made = place.with_name(f".{token_hex(8)}.new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with open(os.open(made, flags, 0o666), "wb") as file:
            file.write(content.encode())
        with suppress(FileNotFoundError):
            os.chmod(made, stat.S_IMODE(place.stat().st_mode))
        os.replace(made, place)
    except OSError as error:
        with suppress(OSError):
            made.unlink()
        raise Unserved(INTERNAL_ERROR, str(error.strerror)) from None


def content_of(params: Table) -> str:
    """Return the text that `fs/write_text_file` writes. Raises Unserved."""
    content = params.get("content")
    if not isinstance(content, str):
        raise Unserved(INVALID_PARAMS, "there is no content")
    try:
        size = len(content.encode())
    except UnicodeEncodeError:
        raise Unserved(INVALID_PARAMS, "the content is not text") from None
    if size > MAX_FILE:
        raise Unserved(INVALID_PARAMS, f"the content is larger than {MAX_FILE} bytes")
    return content
