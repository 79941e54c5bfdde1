"""A copy is made as a whole, or not at all."""

from typing import Any

import pytest
from aiohttp import web

from actors import Code, Failure
from callboard.v1.chat_pb2 import ChatCompleted, HistoryEntry, TurnState
from callboard_service.backends.opencode.marks import Mark, message_id_of
from callboard_service.store.kept_turns import NewTurn
from tests.unit.callboard_service.backends.opencode.odd_server import backend_at

SOURCE, COPY = "ses_source", "ses_copy"
TURN = "0123456789abcdef" * 2


class Server:
    """Has one conversation, and copies it. broken: the request that fails."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status: dict[str, Any] = {}
        self.broken = ""
        self.requests: list[str] = []
        self.bodies: dict[str, Any] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = f"{request.method} {request.path}"
        self.requests.append(asked)
        if request.can_read_body:
            self.bodies[asked] = await request.json()
        if asked == self.broken:
            return web.json_response({}, status=500)
        match request.path.split("/")[1:]:
            case ["session", "status"]:
                return web.json_response(self.status)
            case ["session", name, "message"]:
                return web.json_response(self.messages if name == SOURCE else [])
            case ["session", _, "fork"]:
                return web.json_response({"id": COPY})
            case ["session", name]:
                return web.json_response({"id": name})
            case _:
                return web.json_response({})

    def say(self, message_id: str, **part: Any) -> None:
        """Add a message of a user."""
        info = {"id": message_id, "role": "user", "time": {"created": 1}}
        part = {"id": f"prt_{message_id}", "type": "text", "text": "said", **part}
        self.messages.append({"info": info, "parts": [part]})


async def test_a_copy_that_cannot_be_completed_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the server fails or the store."""
    for broken in (f"PATCH /session/{COPY}", ""):
        server = Server()
        server.broken = broken
        async with backend_at(server.answer) as backend:
            if not broken:  # then the store cannot keep the turns

                async def fail(*_: Any) -> str:
                    raise Failure(Code.UNAVAILABLE, "broken")

                monkeypatch.setattr(backend._forks, "_copy_turns", fail)
            with pytest.raises(Failure):
                await backend.fork(SOURCE, "", "", "")
        assert server.requests[-1] == f"DELETE /session/{COPY}"


async def test_only_messages_that_a_copy_would_not_be_known_by_are_marked() -> None:
    """Commands have no mark, nor have messages of earlier versions."""
    server = Server()
    server.say("msg_of_others")
    server.say(message_id_of(TURN))
    server.say(message_id_of("f" * 32), metadata=Mark("f" * 32).metadata())
    async with backend_at(server.answer) as backend:
        await backend.fork(SOURCE, "", "", "")
    (marked,) = (path for path in server.requests if "/part/" in path)
    assert f"/message/{message_id_of(TURN)}/" in marked
    body = server.bodies[marked]
    assert (body["ignored"], body["text"]) == (True, "")
    assert body["metadata"] == Mark(TURN).metadata()


@pytest.mark.parametrize(
    ("busy", "end"), [(False, None), (True, "msg_2")], ids=["idle", "another client's reply"]
)
async def test_a_reply_that_runs_is_not_copied(busy: bool, end: str | None) -> None:
    """It may be another client's, of which this service knows nothing."""
    server = Server()
    server.say("msg_1")
    server.say("msg_2")
    server.say("msg_added", synthetic=True)
    server.status = {SOURCE: {"type": "busy"}} if busy else {}
    async with backend_at(server.answer) as backend:
        await backend.fork(SOURCE, "", "", "")
    body = server.bodies[f"POST /session/{SOURCE}/fork"]
    assert body.get("messageID") == end


async def test_a_copy_before_a_message_of_others_has_no_later_turn() -> None:
    """Neither in OpenCode nor in the store."""
    server = Server()
    turns = ["1" * 32, "2" * 32]
    server.say(message_id_of(turns[0]))
    server.say("msg_of_others")
    server.say(message_id_of(turns[1]))
    async with backend_at(server.answer) as backend:
        for turn in turns:
            await backend._turns.write(lambda store: store.ensure(SOURCE))
            journal = backend._journal
            await journal.admit(SOURCE, NewTurn(turn, f"text {turn[0]}", starts=True))
            said = [HistoryEntry(assistant_text="reply")]
            state = TurnState.TURN_STATE_COMPLETED
            await journal.end(SOURCE, turn, state, said, completed=ChatCompleted())
        copy = await backend.fork(SOURCE, "prt_msg_of_others", "", "")
        kept = [await backend._journal.kept_entries(copy.id, turn) for turn in turns]
    assert server.bodies[f"POST /session/{SOURCE}/fork"]["messageID"] == "msg_of_others"
    assert next(entry.user_text for entry in kept[0] or ()) == "text 1"
    assert not kept[1]


async def test_a_turn_whose_end_is_not_stored_yet_is_not_copied() -> None:
    """OpenCode has ended its reply, but the store does not copy it."""
    server = Server()
    server.say("msg_1")
    server.say(message_id_of(TURN))
    async with backend_at(server.answer) as backend:
        await backend._turns.write(lambda store: store.ensure(SOURCE))
        await backend._journal.admit(SOURCE, NewTurn(TURN, "said", starts=True))
        await backend.fork(SOURCE, "", "", "")
    assert server.bodies[f"POST /session/{SOURCE}/fork"]["messageID"] == message_id_of(TURN)
