"""Another client of the OpenCode server, and what tests ask of the service about organising."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.e2e.contract_client import Contract, message
from tests.support.peers.opencode_server import OpenCodeServer
from tests.support.peers.talk import history


class Peer:
    """Calls the server's own interface."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        async with self._http.request(method, self._url + path, json=body) as answer:
            assert answer.status in (200, 204), await answer.text()
            return None if answer.status == 204 else await answer.json()

    async def say(self, conversation: str, text: str) -> None:
        """Send a message, and wait for the whole reply."""
        body = {"parts": [{"type": "text", "text": text}]}
        await self.call("POST", f"/session/{conversation}/message", body)

    async def messages(self, conversation: str) -> list[Any]:
        """Return what the server has of a conversation, oldest first."""
        found: list[Any] = await self.call("GET", f"/session/{conversation}/message")
        return found


@asynccontextmanager
async def peer_of(server: OpenCodeServer) -> AsyncIterator[Peer]:
    """Connect to the server as another client."""
    password = aiohttp.encode_basic_auth("opencode", server.password)
    async with aiohttp.ClientSession(headers={"Authorization": password}) as http:
        yield Peer(http, server.url)


async def send(client: Contract, conversation: str, text: str, **fields: Any) -> list[Any]:
    """Send a message with these fields, and return all answers."""
    request = message("SendMessageRequest", session_id=conversation, text=text, **fields)
    return await client.all(await client.open(send_message=request))


async def entries(client: Contract, conversation: str, **fields: Any) -> list[Any]:
    """Return the entries of a conversation's history."""
    return list((await history(client, conversation, **fields)).entries)


def texts(entries: list[Any]) -> list[str]:
    """Return what was said, by the user and the model."""
    said = (entry.user_text or entry.assistant_text for entry in entries)
    return [text for text in said if text]


async def fork(client: Contract, conversation: str, before: str = "", **fields: Any) -> Any:
    """Copy a conversation, and return the answer: a SessionInfo, or an error."""
    request = message("ForkSessionRequest", session_id=conversation, before=before, **fields)
    return await client.call(fork_session=request)


async def update(client: Contract, conversation: str, **fields: Any) -> Any:
    """Change a conversation, and return its SessionInfo."""
    request = message("UpdateSessionRequest", session_id=conversation, **fields)
    return (await client.call(update_session=request)).session_info


async def infos(client: Contract, *, archived: bool = False) -> dict[str, Any]:
    """Return the conversations of the list by their ids."""
    found = await client.call(list_sessions=message("ListSessionsRequest", archived=archived))
    return {info.id: info for info in found.session_list.sessions}
