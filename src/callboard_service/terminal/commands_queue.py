"""The commands about messages that wait, and about the reply that runs."""

from functools import partial
from typing import Final

from callboard.v1.chat_pb2 import Delivery, StopTurnRequest, TurnInfo, UpdateTurnRequest
from callboard_service.terminal.attaching import Tray
from callboard_service.terminal.errors import BadCommand
from callboard_service.terminal.layout import message_lines
from callboard_service.terminal.room import Room
from callboard_service.terminal.slash import bad_form, number
from callboard_service.terminal.text import one_line
from callboard_service.terminal.view import Screen
from transport.client.followed_turn import FollowedTurn
from transport.errors import RequestFailed

_QUEUED: Final = "queued messages"


class Queue:
    """/queue, /steer and /interrupt."""

    def __init__(self, room: Room, screen: Screen, tray: Tray) -> None:
        self._room = room
        self._screen = screen
        self._tray = tray

    async def queue(self, rest: str) -> None:
        """Show the queue, or change it."""
        self._room.known()
        live = await self._room.followed()
        await live.joined()
        turns = await live.queue()
        what, _, more = rest.partition(" ")
        place, _, value = more.strip().partition(" ")
        value = value.strip()
        match what:
            case "":
                self._show(turns)
            case "drop" if place and not value:
                await self._drop(self._at(turns, place))
            case "edit" if value:
                await self._edit(self._at(turns, place), value)
            case "move" if value:
                await self._move(self._at(turns, place), self._place(turns, value))
            case _:
                raise bad_form("queue")

    def _show(self, turns: list[FollowedTurn]) -> None:
        if not turns:
            self._screen.line("no message waits")
            return
        rows = []
        for turn in turns:
            said = " ".join(message_lines(one_line(turn.text), turn.info.attachments, 1))
            rows.append((f"{turn.info.place}.", said))
        self._screen.table(rows)

    def _at(self, turns: list[FollowedTurn], typed: str) -> FollowedTurn:
        return turns[self._place(turns, typed) - 1]

    def _place(self, turns: list[FollowedTurn], typed: str) -> int:
        return number("queue", typed, len(turns), _QUEUED)

    async def _drop(self, turn: FollowedTurn) -> None:
        live = await self._room.followed()
        live.withdraw(turn.info.id)
        request = StopTurnRequest(session_id=self._room.known(), turn_id=turn.info.id)
        await self._room.call(request, TurnInfo)
        await live.caught_up(lambda: turn.ended)
        self._screen.line(f"dropped: {one_line(turn.text, 60)}")

    async def _edit(self, turn: FollowedTurn, text: str) -> None:
        request = UpdateTurnRequest(session_id=self._room.known(), turn_id=turn.info.id, text=text)
        info = await self._room.call(request, TurnInfo)
        live = await self._room.followed()
        await live.caught_up(lambda: turn.text == text or turn.ended)
        self._screen.line(f"place {info.place} is now: {one_line(info.text or text, 60)}")

    async def _move(self, turn: FollowedTurn, place: int) -> None:
        request = UpdateTurnRequest(
            session_id=self._room.known(), turn_id=turn.info.id, place=place
        )
        info = await self._room.call(request, TurnInfo)
        live = await self._room.followed()
        await live.caught_up(lambda: turn.info.place == info.place or turn.ended)
        self._show(await live.queue())

    async def steer(self, rest: str) -> None:
        """Hand a message to the running reply."""
        await self._deliver(rest, "steer", Delivery.DELIVERY_STEER)
        self._screen.line("handed to the reply, which shows it once it is used")

    async def interrupt(self, rest: str) -> None:
        """Stop the running reply, and send a message next."""
        live = self._room.live
        if live is not None:
            live.cut_short(self._room.running)
        try:
            await self._deliver(rest, "interrupt", Delivery.DELIVERY_INTERRUPT)
        except (BadCommand, RequestFailed):
            if live is not None:
                live.cut_short("")
            raise

    async def _deliver(self, text: str, name: str, delivery: Delivery.ValueType) -> None:
        if not text and not self._tray.items:
            raise bad_form(name)
        running = self._room.running
        if not running:
            raise BadCommand(f"no reply runs: type the message without /{name}")
        attachments = await self._room.over(partial(self._tray.load, text))
        await self._room.say(text, attachments, delivery=delivery, target=running)
        self._tray.items.clear()
