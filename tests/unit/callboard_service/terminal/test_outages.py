"""Lines about a connection that is lost for longer: outages.py."""

import io

from callboard_service.terminal.outages import Outages
from callboard_service.terminal.view import Screen, make_console
from tests.support.scripted_websocket import ScriptedDialer
from transport.client import Client, by_url
from transport.client.phase import Phase


async def test_an_outage_is_told_once_and_its_end_too() -> None:
    """An outage is told at the second check, but not while a prompt is open."""
    out = io.StringIO()
    outages = Outages(Screen(make_console(out)))
    async with Client(by_url("ws://stage", ""), dialer=ScriptedDialer()) as client:
        outages.check(client)
        client.protocol.phase = Phase.CONNECTING
        outages.check(client)
        assert out.getvalue() == ""
        with outages.unsaid():
            outages.check(client)
        assert out.getvalue() == ""
        for _ in range(3):
            outages.check(client)
        client.protocol.phase = Phase.OPEN
        for _ in range(2):
            outages.check(client)
    assert out.getvalue().splitlines() == [
        "no connection to the service at ws://stage; trying again …",
        "reconnected, backend fake",
    ]
