"""What a chat does over a connection is done again if the connection is lost for good."""

from typing import Any, cast

import pytest

from callboard_service.terminal.room import Room
from transport.errors import ConnectionClosed, SessionLost


class Link:
    """A fake: each connection has a number."""

    def __init__(self) -> None:
        self.opened = 0

    async def open(self) -> int:
        self.opened += 1
        return self.opened


async def test_work_is_done_again_over_the_next_connection() -> None:
    link, unused = Link(), cast("Any", None)
    room = Room(cast("Any", link), unused, unused, unused, unused, unused)
    used: list[object] = []

    async def work(client: object) -> str:
        used.append(client)
        if len(used) == 1:
            raise SessionLost
        if len(used) == 2:
            raise ConnectionClosed(1006, "cut")
        return "done"

    assert await room.over(work) == "done"
    assert used == [1, 2, 3]


async def test_work_is_not_done_again_if_the_client_may_not_come_back() -> None:
    link, unused = Link(), cast("Any", None)
    room = Room(cast("Any", link), unused, unused, unused, unused, unused)

    async def work(client: object) -> None:
        raise ConnectionClosed(4500, "refused")

    with pytest.raises(ConnectionClosed):
        await room.over(work)
    assert link.opened == 1
