"""All chat requests of the contract, through a client that knows only proto/."""

import asyncio

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from tests.e2e.contract_client import Contract, kinds_of, message, text_of


async def test_welcome_says_what_is_enforced(client: Contract) -> None:
    welcome = client.welcome
    assert welcome.backend == "echo"
    assert welcome.protocol_version == 1
    assert len(welcome.resume_token) == 32
    assert not welcome.resumed
    assert welcome.last_request_id == 0
    assert welcome.limits.max_message_bytes == 1024 * 1024
    assert welcome.limits.max_requests_in_flight == 256
    assert welcome.limits.heartbeat_interval_ms == 20_000
    assert welcome.limits.messages_per_second == 500
    assert welcome.limits.message_burst == 1000
    assert welcome.limits.bytes_per_second == 8 * 1024 * 1024
    assert welcome.limits.byte_burst == 16 * 1024 * 1024
    assert welcome.limits.resume_window_ms == 120_000
    assert welcome.limits.resume_buffer_messages == 4096
    assert welcome.limits.resume_buffer_bytes == 4 * 1024 * 1024


async def test_two_sessions_have_names_and_secrets_of_their_own(client: Contract) -> None:
    async with Contract(client.url, client.hello.token) as other:
        assert other.welcome.session != client.welcome.session
        assert other.welcome.resume_token != client.welcome.resume_token


async def test_conversations_are_made_listed_renamed_by_their_text_and_deleted(
    client: Contract,
) -> None:
    first = await client.conversation("one")
    second = await client.conversation()
    await client.reply(second, "What is a callboard?\nTell me.")

    listed = (await client.call(list_sessions=message("ListSessionsRequest"))).session_list
    assert [(info.id, info.title) for info in listed.sessions[:2]] == [
        (second, "What is a callboard?"),
        (first, "one"),
    ]
    assert listed.sessions[0].updated_at.ToDatetime() >= listed.sessions[0].created_at.ToDatetime()

    deleted = await client.call(delete_session=message("DeleteSessionRequest", session_id=first))
    assert deleted.session_deleted.session_id == first
    listed = (await client.call(list_sessions=message("ListSessionsRequest"))).session_list
    ids = [info.id for info in listed.sessions]
    assert ids[0] == second
    assert first not in ids


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "  two  spaces,\n\n a line and a tab\t ",
        "Grüße, 世界! 🎭 e\u0301",
        "[[not a directive]] [[repeat:x]] [[tool:]] [[ask:you]] [[error:NOPE]] [[",
        '[[tool:deep {"a": ' + "[" * 900 + "]" * 900 + '}]] [[tool:n {"a": NaN}]]',
        '[[tool:big {"a": 1e999}]]',
    ],
)
async def test_text_comes_back_word_by_word_exactly(client: Contract, text: str) -> None:
    answers = await client.reply(await client.conversation(), text)
    assert text_of(answers) == text
    assert kinds_of(answers) == ["token", "completed"]
    assert len(answers) > 2 or " " not in text.strip()
    assert answers[-1].completed.output_tokens == len(answers) - 1


async def test_repeat_makes_that_many_tokens_in_order(client: Contract) -> None:
    answers = await client.reply(await client.conversation(), "[[repeat:2500]]")
    assert [int(answer.token.text) for answer in answers[:-1]] == [n % 1000 for n in range(2500)]
    assert [answer.end for answer in answers] == [False] * 2500 + [True]


async def test_tool_call_result_and_reasoning(client: Contract) -> None:
    answers = await client.reply(
        await client.conversation(),
        '[[reasoning:let me see]][[tool:read {"path": "a]]b", "n": [1, {"x": null}]}]]done',
    )
    assert kinds_of(answers) == ["reasoning", "tool_call", "tool_result", "token", "completed"]
    call = answers[1].tool_call
    assert call.name == "read"
    assert MessageToDict(call.arguments) == {"path": "a]]b", "n": [1, {"x": None}]}
    assert answers[2].tool_result.call_id == call.call_id


@pytest.mark.own_bound("answers come one right behind the other; a full request drops the newest")
@pytest.mark.parametrize(("kind", "choice"), [("permission", "once"), ("question", "maybe")])
async def test_an_ask_is_answered_under_the_requests_id(
    client: Contract, kind: str, choice: str
) -> None:
    request_id = await client.say(await client.conversation(), f"[[ask:{kind}]]thanks")
    stream = client.answers(request_id)
    ask = (await anext(stream)).ask
    assert choice in ask.options
    for wrong in (
        message("AnswerRequest", ask_id="another", answers=[choice]),
        message("AnswerRequest", ask_id=ask.ask_id, answers=list(ask.options)),
    ):
        await client.send(request_id, answer=wrong)
    if kind == "permission":
        invented = message("AnswerRequest", ask_id=ask.ask_id, answers=["none of them"])
        await client.send(request_id, answer=invented)
    right = message("AnswerRequest", ask_id=ask.ask_id, answers=[choice])
    await client.send(request_id, answer=right)
    await client.send(request_id, answer=right)
    rest = [answer async for answer in stream]
    notices = ["notice", "notice"] if kind == "permission" else ["notice"]
    assert kinds_of(rest) == [*notices, "ask_closed", "token", "completed"]
    assert list(rest[len(notices)].ask_closed.answers) == [choice]


@pytest.mark.parametrize("end", ["cancel", "deadline"])
async def test_an_ask_that_is_void_is_closed_before_the_end(client: Contract, end: str) -> None:
    conversation = await client.conversation()
    timeout = 150 if end == "deadline" else 0
    request_id = await client.say(conversation, "[[ask:question]]", timeout_ms=timeout)
    stream = client.answers(request_id)
    ask = (await anext(stream)).ask
    if end == "cancel":
        await client.send(request_id, cancel=message("CancelRequest"))
    rest = [answer async for answer in stream]
    assert kinds_of(rest) == ["ask_closed", "error"]
    assert rest[0].ask_closed.ask_id == ask.ask_id
    assert not rest[0].ask_closed.answers
    assert rest[1].error.code == ("CANCELLED" if end == "cancel" else "DEADLINE_EXCEEDED")


async def test_history_pages_and_keeps_every_kind_of_entry(client: Contract) -> None:
    conversation = await client.conversation()
    for number in range(3):
        await client.reply(conversation, f"message {number}")
    await client.reply(conversation, "[[tool:look]]seen")

    def request(**fields: object) -> Message:
        made: Message = message("GetHistoryRequest", session_id=conversation, **fields)
        return made

    whole = (await client.call(get_history=request())).history
    assert not whole.more
    assert [entry.WhichOneof("entry") for entry in whole.entries[-4:]] == [
        "user_text",
        "tool_call",
        "tool_result",
        "assistant_text",
    ]
    page = (await client.call(get_history=request(limit=4))).history
    assert page.more
    assert list(page.entries) == list(whole.entries[-4:])
    before = (await client.call(get_history=request(before=page.entries[0].id))).history
    assert list(before.entries) + list(page.entries) == list(whole.entries)
    wrong = await client.call(get_history=request(before="no such entry"))
    assert wrong.error.code == "INVALID_ARGUMENT"


async def test_errors_asked_for_come_with_their_code(client: Contract) -> None:
    conversation = await client.conversation()
    for code, retryable in (("NOT_FOUND", False), ("UNAVAILABLE", True), ("INTERNAL", False)):
        answers = await client.reply(conversation, f"so [[error:{code}]] far")
        assert kinds_of(answers) == ["token", "error"]
        assert answers[-1].error.code == code
        assert answers[-1].error.retryable is retryable
    assert text_of(await client.reply(conversation, "still here")) == "still here"


async def test_a_crash_costs_its_request_and_tells_nothing(client: Contract) -> None:
    conversation = await client.conversation()
    answers = await client.reply(conversation, "a [[crash]]")
    assert kinds_of(answers) == ["token", "error"]
    assert answers[-1].error.code == "INTERNAL"
    assert "text asked for" not in answers[-1].error.message
    assert text_of(await client.reply(conversation, "still here")) == "still here"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"send_message": message("SendMessageRequest", session_id="?", text="a")}, "NOT_FOUND"),
        ({"get_history": message("GetHistoryRequest", session_id="?")}, "NOT_FOUND"),
        ({"delete_session": message("DeleteSessionRequest", session_id="?")}, "NOT_FOUND"),
        ({"call": message("google.protobuf.Any", type_url="x/no.Such")}, "UNIMPLEMENTED"),
        ({}, "UNIMPLEMENTED"),
    ],
)
async def test_what_cannot_be_done_has_its_code(
    client: Contract, payload: dict[str, object], code: str
) -> None:
    answer = await client.call(**payload)  # type: ignore[arg-type]  # one of the arms above
    assert answer.error.code == code


async def test_a_title_has_a_limit(client: Contract) -> None:
    for length, arm in ((1000, "session_info"), (1001, "error")):
        request = message("CreateSessionRequest", title="t" * length)
        assert (await client.call(create_session=request)).WhichOneof("payload") == arm


@pytest.mark.parametrize("text", ["", "  \n\t "])
async def test_a_message_without_text_is_refused(client: Contract, text: str) -> None:
    (answer,) = await client.reply(await client.conversation(), text)
    assert answer.error.code == "INVALID_ARGUMENT"


async def test_cancel_ends_the_stream_once_and_nothing_follows(client: Contract) -> None:
    conversation = await client.conversation()
    request_id = await client.say(conversation, "[[delay:5]][[repeat:100000]]")
    stream = client.answers(request_id)
    await anext(stream)
    for _ in range(2):
        await client.send(request_id, cancel=message("CancelRequest"))
    rest = [answer async for answer in stream]
    assert rest[-1].error.code == "CANCELLED"
    assert text_of(await client.reply(conversation, "next")) == "next"
    assert [a.end for a in client.received if a.request_id == request_id].count(True) == 1
    assert client.queue(request_id).empty()


async def test_a_client_deadline_ends_the_stream(client: Contract) -> None:
    conversation = await client.conversation()
    request_id = await client.say(conversation, "[[delay:20]][[repeat:1000]]", timeout_ms=100)
    answers = await client.all(request_id)
    assert answers[-1].error.code == "DEADLINE_EXCEEDED"
    assert len(answers) < 10


async def test_a_second_message_waits_its_turn_and_says_so(client: Contract) -> None:
    conversation = await client.conversation()
    first = await client.say(conversation, "[[ask:question]]one")
    ask = (await anext(client.answers(first))).ask
    second = await client.say(conversation, "two")
    notice = await anext(client.answers(second))
    assert notice.WhichOneof("payload") == "notice"
    await client.send(first, answer=message("AnswerRequest", ask_id=ask.ask_id, answers=["yes"]))
    assert text_of(await client.all(first)) == "one"
    assert text_of(await client.all(second)) == "two"


async def test_deleting_a_conversation_ends_its_replies_with_cancelled(client: Contract) -> None:
    conversation = await client.conversation()
    running = await client.say(conversation, "[[ask:question]]")
    await anext(client.answers(running))
    waiting = await client.say(conversation, "two")
    await anext(client.answers(waiting))
    deleted = await client.call(
        delete_session=message("DeleteSessionRequest", session_id=conversation)
    )
    assert deleted.session_deleted.session_id == conversation
    for request_id in (running, waiting):
        assert (await client.all(request_id))[-1].error.code == "CANCELLED"


async def test_many_requests_share_the_socket_and_sequence_has_no_gap(client: Contract) -> None:
    conversations = [await client.conversation() for _ in range(20)]
    ids = [await client.say(c, f"[[repeat:{50 + n}]]") for n, c in enumerate(conversations)]
    replies = await asyncio.gather(*map(client.all, ids))
    assert [len(reply) for reply in replies] == [51 + n for n in range(20)]
    sequenced = [answer.sequence for answer in client.received]
    assert sequenced == list(range(1, len(sequenced) + 1))


async def test_credit_holds_the_stream_at_its_limit(client: Contract) -> None:
    async with Contract(client.url, client.hello.token, initial_credit=3) as slow:
        request_id = await slow.say(await slow.conversation(), "[[repeat:10]]")
        stream = slow.answers(request_id)
        for _ in range(3):
            await anext(stream)
        await slow.send(0, ping=message("Ping", nonce=7))
        assert (await slow.queue(0).get()).pong.nonce == 7
        assert slow.queue(request_id).empty()
        await slow.send(request_id, credit=message("Credit", limit=2))
        await slow.send(request_id, credit=message("Credit", limit=20))
        assert len([answer async for answer in stream]) == 8


@pytest.mark.own_bound("counts how many find room in a line; with less room, fewer do")
async def test_too_many_requests_at_once_are_refused(client: Contract) -> None:
    conversation = await client.conversation()
    waiting = [await client.say(conversation, "[[ask:question]]") for _ in range(17)]
    answers = [await anext(client.answers(request_id)) for request_id in waiting]
    assert answers[0].WhichOneof("payload") == "ask"
    refused = await client.all(await client.say(conversation, "one more"))
    assert refused[-1].error.code == "RESOURCE_EXHAUSTED"
    others = [await client.conversation() for _ in range(256 - 17)]
    held = [await client.say(other, "[[ask:question]]") for other in others]
    over = await client.call(list_sessions=message("ListSessionsRequest"))
    assert over.error.code == "RESOURCE_EXHAUSTED"
    assert over.error.retryable
    await client.send(held[0], cancel=message("CancelRequest"))
    await client.all(held[0])
    # The request has ended for the client, but counts until its history is stored.
    while (listed := await client.call(list_sessions=message("ListSessionsRequest"))).error.code:
        assert listed.error.code == "RESOURCE_EXHAUSTED"
    assert len(listed.session_list.sessions) >= 1 + len(others)


async def test_a_hundred_crashes_beside_a_hundred_good_ones(client: Contract) -> None:
    conversations = [await client.conversation() for _ in range(200)]
    texts = ["[[delay:1]]a b c [[crash]]", "[[delay:1]]a b c d"]
    ids = [await client.say(c, texts[n % 2]) for n, c in enumerate(conversations)]
    replies = await asyncio.gather(*map(client.all, ids))
    for number, reply in enumerate(replies):
        if number % 2:
            assert text_of(reply) == "a b c d"
            assert reply[-1].WhichOneof("payload") == "completed"
        else:
            assert reply[-1].error.code == "INTERNAL"


async def test_the_features_of_the_backend_are_told(client: Contract) -> None:
    assert list(client.welcome.features) == [
        "follow", "commands", "fork", "images", "options", "search", "steer", "uploads",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arm", "name", "code"),
    [
        ("update_session", "UpdateSessionRequest", "NOT_FOUND"),
        ("fork_session", "ForkSessionRequest", "NOT_FOUND"),
        ("list_options", "ListOptionsRequest", ""),
        ("set_option", "SetOptionRequest", "NOT_FOUND"),
        ("list_commands", "ListCommandsRequest", ""),
        ("update_turn", "UpdateTurnRequest", "NOT_FOUND"),
        ("upload", "UploadRequest", "INVALID_ARGUMENT"),
        ("get_attachment", "GetAttachmentRequest", "NOT_FOUND"),
    ],
)
async def test_an_empty_request_of_each_kind_gets_its_answer(
    client: Contract, arm: str, name: str, code: str
) -> None:
    answer = await client.call(**{arm: message(name)})
    assert answer.error.code == code
    assert not answer.error.retryable
