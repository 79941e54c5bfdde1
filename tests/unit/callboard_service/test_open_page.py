import stat
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from callboard_service.open_page import (
    CannotOpen,
    address,
    forget_page,
    open_page,
    sweep_pages,
)
from transport.discovery import RuntimeRecord

RECORD = RuntimeRecord(
    pid=7,
    url="ws://127.0.0.1:1234/ws",
    page="http://127.0.0.1:1234/",
    token='to"k<en',
    backend="echo",
    version="1",
    started_at=0.0,
)


def test_the_address_carries_the_token_in_its_fragment_which_no_server_sees() -> None:
    url = urlsplit(address(RECORD, "board"))
    assert (url.netloc, url.path, url.query) == ("127.0.0.1:1234", "/board", "")
    assert unquote(url.fragment) == 'token=to"k<en'


def test_the_browser_is_given_a_private_file_and_not_the_token(tmp_path: Path) -> None:
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return True

    open_page(tmp_path, RECORD, browse=browse)

    file = tmp_path / "page-7.html"
    assert opened == [file.as_uri()]
    assert "to" not in opened[0].removeprefix(tmp_path.as_uri())
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert 'content="0; url=http://127.0.0.1:1234/#token=to%22k%3Cen"' in text
    assert list(tmp_path.iterdir()) == [file]


def test_a_second_time_replaces_the_file(tmp_path: Path) -> None:
    open_page(tmp_path, RECORD, browse=lambda _: True)
    open_page(tmp_path, replace(RECORD, token="new"), "board", browse=lambda _: True)

    assert "/board#token=new" in (tmp_path / "page-7.html").read_text()


def test_without_a_browser_it_says_how_to_get_the_address(tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match="open --print"):
        open_page(tmp_path, RECORD, browse=lambda _: False)


def test_a_service_on_a_unix_socket_has_no_page(tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match="Unix socket"):
        open_page(tmp_path, replace(RECORD, page=""), browse=lambda _: True)


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match="cannot write"):
        open_page(tmp_path / "missing", RECORD, browse=lambda _: True)


def test_the_file_is_removed_with_the_service(tmp_path: Path) -> None:
    open_page(tmp_path, RECORD, browse=lambda _: True)
    forget_page(tmp_path, 7)
    forget_page(tmp_path, 7)
    assert list(tmp_path.iterdir()) == []


def test_files_of_services_that_were_killed_are_removed(tmp_path: Path) -> None:
    for pid in (7, 77):
        open_page(tmp_path, replace(RECORD, pid=pid), browse=lambda _: True)
    (tmp_path / "77.json").touch()

    sweep_pages(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["77.json", "page-77.html"]
