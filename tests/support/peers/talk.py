"""Helpers for tests of replies that ask."""

from collections.abc import AsyncIterator
from typing import Any

from tests.e2e.contract_client import Contract, message
from tests.support.peers.scripted_llm import Step, call


async def until(stream: AsyncIterator[Any], kind: str) -> list[Any]:
    """Return the answers up to the first of this kind."""
    got = []
    async for answer in stream:
        got.append(answer)
        if answer.WhichOneof("payload") == kind:
            return got
    raise AssertionError(f"no {kind} came: {got}")


async def answer(client: Contract, request_id: int, ask: Any, *answers: str, say: str = "") -> None:
    said = message("AnswerRequest", ask_id=ask.ask_id, answers=answers, message=say)
    await client.send(request_id, answer=said)


async def history(client: Contract, conversation: str, **fields: Any) -> Any:
    request = message("GetHistoryRequest", session_id=conversation, **fields)
    return (await client.call(get_history=request)).history


async def listed(client: Contract) -> dict[str, str]:
    found = await client.call(list_sessions=message("ListSessionsRequest"))
    return {info.id: info.title for info in found.session_list.sessions}


def questions(*texts: str, multiple: bool = False) -> Step:
    options = [{"label": "Yes", "description": "do it"}, {"label": "No", "description": "leave"}]
    asked = [
        {"question": text, "header": text[:10], "options": options, "multiple": multiple}
        for text in texts
    ]
    return call("question", questions=asked)
