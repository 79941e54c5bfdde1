"""The state of the connection, in words."""

import pytest

from callboard_page.connection import Connection
from tests.support.page_kit import Page, Pages
from transport.client.phase import Phase
from transport.codes import CloseCode
from transport.errors import ConnectionClosed


async def test_an_open_connection_names_the_service(page: Page) -> None:
    connection = Connection(page.client)
    assert (connection.kind, connection.text) == ("open", "Connected · echo")
    assert connection.detail.startswith("Callboard")
    assert not connection.over


async def test_a_connection_that_was_cut_comes_back(windows: Pages) -> None:
    page = await windows.open()
    page.client.welcome.server_version = "1"
    connection = Connection(page.client)
    windows.service.cut()
    await page.until(lambda: connection.kind == "waiting")
    assert connection.text == "Connecting again …"
    await page.until(lambda: connection.kind == "open")


@pytest.mark.parametrize(
    ("code", "reason", "said"),
    [
        (
            CloseCode.BAD_TOKEN,
            "x",
            "This page's token is no longer valid: the service was restarted.",
        ),
        (CloseCode.TAKEN_OVER, "x", "This session was taken over by another page."),
        (CloseCode.PROTOCOL_ERROR, "bad frame", "bad frame"),
        (4999, "x", ""),
    ],
)
async def test_why_there_is_none(page: Page, code: int, reason: str, said: str) -> None:
    page.client.protocol.closed = ConnectionClosed(code, reason)
    page.client.protocol.phase = Phase.OVER
    connection = Connection(page.client)
    assert (connection.kind, connection.text, connection.over) == ("over", "Not connected", True)
    assert (connection.reason, connection.detail) == (said, said)
    page.client.protocol.phase = Phase.OPEN
