"""Opens the page in the user's browser, with the token.

The token must not stand on a command line, where other users of the machine can read it. So the
browser is given a file that only this user can read, which leads to the page (the way of Jupyter).
The file is removed when the service stops.
"""

import os
import secrets
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urljoin

from callboard_service.errors import ServiceError
from transport.discovery import RuntimeRecord

BOARD: Final = "board"
"""The path of the board, below the page."""

_FILE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Callboard</title>
<meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0; url={url}">
<p>This leads to <a href="{url}">Callboard</a>.</p></html>
"""


class CannotOpen(ServiceError):
    """The page cannot be opened."""


def address(record: RuntimeRecord, path: str = "") -> str:
    """Return the page's address with the token, which whoever has it may use.

    path: below the page. Raises CannotOpen if the service has no page.
    """
    if not record.page:
        raise CannotOpen("the service listens on a Unix socket, so a browser cannot reach its page")
    return f"{urljoin(record.page, path)}#{urlencode({'token': record.token})}"


def open_page(
    folder: Path,
    record: RuntimeRecord,
    path: str = "",
    browse: Callable[[str], bool] = webbrowser.open,
) -> None:
    """Open the page in the user's browser.

    folder: of the runtime files. browse: opens a URL. Raises CannotOpen.
    """
    text = _FILE.format(url=escape(address(record, path)))
    file = _file(folder, record.pid)
    draft = folder / f".{record.pid}.{secrets.token_hex(8)}.tmp"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as writing:
            writing.write(text)
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise CannotOpen(f"cannot write {file}, which leads to the page: {reason}") from error
    if not browse(file.as_uri()):
        raise CannotOpen(
            "no browser was found; `callboard open --print` prints the page's address, with the"
            " token"
        )


def forget_page(folder: Path, pid: int) -> None:
    """Remove the file that leads to the page of this process, if there is one."""
    with suppress(OSError):
        _file(folder, pid).unlink()


def sweep_pages(folder: Path) -> None:
    """Remove the files of services that have no runtime file any more."""
    for file in folder.glob("page-*.html"):
        pid = file.stem.removeprefix("page-")
        named = [*folder.glob(f"{pid}.json"), *folder.glob(f"{pid}-*.json")]
        if not named:
            with suppress(OSError):
                file.unlink()


def _file(folder: Path, pid: int) -> Path:
    return folder / f"page-{pid}.html"
