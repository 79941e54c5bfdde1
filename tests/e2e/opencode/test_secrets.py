"""Headers and keys in the model server's errors do not reach the client through OpenCode."""

from typing import Any

import pytest

from tests.e2e.contract_client import Contract
from tests.e2e.service_process import ServiceProcess
from tests.support.peers.scripted_llm import fail, say, script

HEADER = "canary-header-51ab"


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_headers_and_keys_in_errors_do_not_reach_the_client(
    client: Contract, service: ServiceProcess, status: int
) -> None:
    conversation = await client.conversation("errors")
    refused = script([fail(status, X_Secret=HEADER, Set_Cookie=f"session={HEADER}")])
    answers: list[Any] = await client.reply(conversation, refused)
    assert answers[-1].error.code
    said = b"".join(answer.SerializeToString() for answer in answers).decode(errors="replace")
    for secret in (HEADER, "sk-scripted", "set-cookie", "Bearer", service.token):
        assert secret not in said
    assert HEADER not in service.log.read_text()


async def test_what_the_model_says_arrives_as_it_was_said(client: Contract) -> None:
    markup = "<script>alert(1)</script> [red]x[/red] \x1b]0;title\x07 **bold**"
    conversation = await client.conversation("markup")
    answers = await client.reply(conversation, script([say(markup)]))
    assert "".join(answer.token.text for answer in answers) == markup
