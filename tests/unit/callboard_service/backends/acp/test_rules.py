"""What agents do, each as a rule with its number in the specification of the backend `acp`.

The agent is a fake that breaks the rule on purpose.
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors import Code
from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    AskOption,
    ChatCompleted,
    ChatNotice,
    ChatToken,
    ReasoningToken,
    StopReason,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    UsageEvent,
)
from callboard_service.backends.acp.agent import FORGOTTEN, NEVER_ASKS, TOOL_LEFT
from callboard_service.backends.acp.turn import EMPTY
from callboard_service.backends.acp.updates import AGAIN, DOUBLED
from tests.support.conversing import failure_of, text_of
from tests.support.scripted_agent import (
    OPTIONS,
    Traits,
    ask,
    end,
    fail,
    leave,
    notify,
    pause,
    raw,
    request,
    say,
    think,
    tool,
    update,
)
from tests.unit.callboard_service.backends.acp.talking import (
    QUICK,
    answer,
    eventually,
    notices,
    of,
    talking,
    until,
)

USED = update("usage_update", used=5, size=100)


async def test_a_turn_has_text_thoughts_and_a_reason(tmp_path: Path) -> None:
    usage = {"inputTokens": 3, "outputTokens": 2, "thoughtTokens": 1, "cachedReadTokens": 4}
    async with talking(tmp_path) as talk:
        events = await talk.say(think("hm"), say("one "), say("two"), end("end_turn", usage=usage))
        assert events[:3] == [
            ReasoningToken(text="hm"), ChatToken(text="one "), ChatToken(text="two"),
        ]  # fmt: skip
        assert events[3:] == [
            ChatCompleted(
                stop_reason=StopReason.STOP_REASON_END_TURN, input_tokens=3, output_tokens=2,
                reasoning_tokens=1, cached_input_tokens=4,
            )
        ]  # fmt: skip
        (kept,) = talk.agents.sent("session/new")
        assert kept == {"cwd": str(tmp_path), "mcpServers": []}
        assert text_of(await talk.say(say("more"))) == "more"
        assert len(talk.agents.started) == 1


@pytest.mark.parametrize(
    "traits", [Traits(bare=True, name=""), Traits(bare=True, version=None), Traits()]
)
async def test_rule_1_capabilities_and_names_may_be_absent(tmp_path: Path, traits: Traits) -> None:
    async with talking(tmp_path, traits) as talk:
        assert text_of(await talk.say(say("hi"))) == "hi"
        (sent,) = talk.agents.sent("initialize")
        assert sent["protocolVersion"] == 1


async def test_rule_1_an_agent_of_another_version_is_an_error(tmp_path: Path) -> None:
    async with talking(tmp_path, Traits(version=2)) as talk:
        failure, _ = await talk.failure("[]")
        assert failure.code is Code.FAILED_PRECONDITION
        assert "version 2" in failure.message


async def test_rule_2_a_chunk_of_mebibytes_and_a_banner_are_taken(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        events = await talk.say(raw("Loading..."), say("x" * 3_000_000), raw("{"), say("y"))
        assert text_of(events) == "x" * 3_000_000 + "y"


async def test_rule_3_a_permission_with_the_id_0_is_answered(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        stream = talk.begin(ask(*OPTIONS, toolCallId="a", title="ls"), say("done"))
        await answer(stream, "once")
        assert text_of([event async for event in stream]) == "done"
        assert talk.agents.last.agent.received[-1]["id"] == 0


@pytest.mark.parametrize("method", ["craft/drainMidTurnQueue", "fs/read_text_file", "_x"])
async def test_rule_4_unknown_requests_are_refused(tmp_path: Path, method: str) -> None:
    async with talking(tmp_path) as talk:
        events = await talk.say(request(method), say("on"))
        assert text_of(events) == "on"
        assert talk.agents.answers() == [{"code": -32601, "message": "Method not found"}]


async def test_rule_4_unknown_updates_are_ignored_and_reasons_are_told(tmp_path: Path) -> None:
    odd = (
        notify("qwen/notify", suggestion="x"),
        notify("session/update"),
        notify("session/update", update=[]),
        update("a_new_kind", content={"type": "text", "text": "no"}),
        update("user_message_chunk", content={"type": "text", "text": "no"}),
        update("agent_message_chunk"),
        tool("a", status="a_new_status", title="t"),
    )
    async with talking(tmp_path) as talk:
        events = await talk.say(*odd, say("yes"), end("a_new_reason"))
        assert text_of(events) == "yes"
        assert events[-1].stop_detail == "a_new_reason"


async def test_rule_4_a_notice_is_shown(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        notice = update("notice", severity="warning", title="Slow", description="Be patient")
        assert notices(await talk.say(notice, say("x"))) == ["Slow: Be patient"]


async def test_rule_5_one_prompt_at_a_time_is_sent(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        first = talk.begin(say("one"), pause(), say("."))
        await until(first, ChatToken)
        second = talk.begin(say("two"))
        talk.agents.last.agent.go()
        assert text_of([event async for event in first]) == "."
        assert text_of([event async for event in second]) == "two"


async def test_rule_6_a_cancel_waits_until_the_prompt_is_under_way(tmp_path: Path) -> None:
    async with talking(tmp_path, timeouts=replace(QUICK, underway=5.0)) as talk:
        stream = talk.begin(USED, pause(), say("begun"), pause())
        await talk.until_sent("session/prompt")
        await talk.stop(stream)
        assert talk.agents.sent("session/cancel") == []
        talk.agents.last.agent.go()
        await talk.until_sent("session/cancel")
        assert text_of(await talk.say(say("next"))) == "next"


@pytest.mark.parametrize("cancel", ["error", "end_turn", "cancelled"])
async def test_rule_6_a_cancelled_reply_is_cancelled_whatever_is_answered(
    tmp_path: Path, cancel: str
) -> None:
    async with talking(tmp_path, Traits(cancel=cancel)) as talk:
        stream = talk.begin(say("begun"), pause())
        await until(stream, ChatToken)
        stream.cancel()
        failure, _ = await failure_of(stream)
        assert failure.code is Code.CANCELLED
        assert text_of(await talk.say(say("next"))) == "next"
        assert len(talk.agents.started) == 1


async def test_rule_7_an_idle_agent_is_never_cancelled(tmp_path: Path) -> None:
    async with talking(tmp_path, Traits(cancel="drop")) as talk:
        await talk.say(say("one"))
        assert text_of(await talk.say(say("two"))) == "two"
    assert talk.agents.sent("session/cancel") == []


async def test_rule_7_gptme_is_ended_rather_than_cancelled(tmp_path: Path) -> None:
    async with talking(tmp_path, Traits(name="gptme", cancel="drop")) as talk:
        stream = talk.begin(say("begun"), pause())
        await until(stream, ChatToken)
        await talk.stop(stream)
        events = await talk.say(say("next"))
        assert (text_of(events), len(talk.agents.started)) == ("next", 2)
        assert talk.agents.sent("session/cancel") == []


async def test_rule_7_a_cancel_that_nobody_asked_for_is_an_error(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        failure, events = await failure_of(talk.begin(say("the model failed"), end("cancelled")))
        assert failure.code is Code.UNAVAILABLE
        assert text_of(events) == "the model failed"


async def test_rule_7_a_cancel_after_a_refusal_is_an_end(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        stream = talk.begin(ask(*OPTIONS, toolCallId="a", title="ls"), end("cancelled"))
        await answer(stream, "no")
        assert (await until(stream, ChatCompleted)).stop_detail == "cancelled"


@pytest.mark.parametrize("cancel", ["cancelled", "waits"])
async def test_rule_8_a_stop_cancels_open_permissions(tmp_path: Path, cancel: str) -> None:
    async with talking(tmp_path, Traits(cancel=cancel)) as talk:
        stream = talk.begin(ask(*OPTIONS, toolCallId="a", title="ls"), say("never"))
        await until(stream, AskEvent)
        await talk.stop(stream)
        await talk.until_sent("session/cancel")
        assert talk.agents.answers() == [{"outcome": {"outcome": "cancelled"}}]
        assert text_of(await talk.say(say("next"))) == "next"
        assert len(talk.agents.started) == 1


async def test_rule_8_an_agent_that_ignores_a_cancel_is_ended(tmp_path: Path) -> None:
    traits = Traits(cancel="ignore", loads=True)
    async with talking(tmp_path, traits, timeouts=replace(QUICK, cancel=0.0)) as talk:
        stream = talk.begin(say("begun"), pause())
        await until(stream, ChatToken)
        await talk.stop(stream)
        events = await talk.say(say("next"))
        assert (text_of(events), notices(events)) == ("next", [])
        assert [process.closed for process in talk.agents.started] == [True, False]


async def test_rule_8_a_message_waits_for_a_stop_that_ends_the_process(tmp_path: Path) -> None:
    async with talking(tmp_path, Traits(loads=True)) as talk:
        await talk.say(say("begun"))
        agents, gate = talk.backend._agents, asyncio.Event()
        agent = agents.find(talk.conversation)
        assert agent is not None

        async def stop() -> None:
            await gate.wait()
            await agent.close()

        agent._stopping = asyncio.create_task(stop())
        waiting = talk.begin(say("next"))
        first = asyncio.ensure_future(anext(waiting))
        await eventually(lambda: agents.idle(talk.conversation) is None)
        gate.set()
        assert text_of([await first, *[event async for event in waiting]]) == "next"
        assert [process.closed for process in talk.agents.started] == [True, False]


async def test_rule_8_a_tool_that_is_left_running_is_told_of(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        stream = talk.begin(tool("a", title="sleep", status="in_progress"), pause())
        await until(stream, ToolCallEvent)
        await talk.stop(stream)
        assert notices(await talk.say(say("next"))) == [TOOL_LEFT]


async def test_rule_8_a_tool_that_nobody_has_allowed_is_not_left_running(tmp_path: Path) -> None:
    """Kimi may answer a cancelled prompt without telling what becomes of the call."""
    async with talking(tmp_path) as talk:
        stream = talk.begin(
            tool("a", title="ls", status="in_progress"), ask(*OPTIONS, toolCallId="a")
        )
        await until(stream, AskEvent)
        await talk.stop(stream)
        assert notices(await talk.say(say("next"))) == []


async def test_rule_8_a_permission_that_comes_after_a_stop_is_cancelled(tmp_path: Path) -> None:
    traits = Traits(cancel="ignore")
    async with talking(tmp_path, traits) as talk:
        stream = talk.begin(say("begun"), pause(), ask(*OPTIONS, toolCallId="a"), say("x"))
        await until(stream, ChatToken)
        await talk.stop(stream)
        talk.agents.last.agent.go()
        assert text_of(await talk.say(say("next"))) == "next"
        assert talk.agents.answers() == [{"outcome": {"outcome": "cancelled"}}]


async def test_rule_9_all_options_are_shown_by_kind_and_name(tmp_path: Path) -> None:
    options = (
        ("project", "allow_always", "Always in this project"),
        ("user", "allow_always", "Always for this user"),
        ("once", "allow_once", "Allow"),
        ("odd", "allow_sometimes", "Sometimes"),
        ("no", "reject_once", "Reject"),
        ("once", "allow_always", "The same id again"),
        ("", "allow_once", "No id"),
    )
    async with talking(tmp_path) as talk:
        stream = talk.begin(ask(*options, toolCallId="a", title="ls"), say("done"))
        asked = await answer(stream, "user")
        assert list(asked.options) == ["once", "project", "user", "odd", "no"]
        assert [choice.name for choice in asked.choices][:3] == [
            "Allow", "Always in this project", "Always for this user",
        ]  # fmt: skip
        assert asked.choices[3].kind == AskOption.KIND_UNSPECIFIED
        assert await until(stream, AskClosed) == AskClosed(
            ask_id=asked.ask_id, answers=["user"], answered=True
        )
        await until(stream, ChatCompleted)
        assert talk.agents.answers() == [{"outcome": {"outcome": "selected", "optionId": "user"}}]


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        (OPTIONS, {"outcome": "selected", "optionId": "no"}),
        ((("always", "reject_always", "Never"),), {"outcome": "cancelled"}),
        ((("yes", "allow_once", "Yes"),), {"outcome": "cancelled"}),
    ],
)
async def test_rule_9_a_declined_permission_is_refused_once_and_nothing_more(
    tmp_path: Path, options: tuple[tuple[str, str, str], ...], chosen: dict[str, str]
) -> None:
    async with talking(tmp_path) as talk:
        stream = talk.begin(
            ask(*options, toolCallId="a", title="ls"), tool("a", again=True, status="completed")
        )
        await answer(stream)
        result = await until(stream, ToolResultEvent)
        assert result.is_error, "completed does not mean allowed"
        await until(stream, ChatCompleted)
        assert talk.agents.answers() == [{"outcome": chosen}]


async def test_rule_9_a_permission_without_options_is_cancelled(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        events = await talk.say(ask(toolCallId="a", title="ls"), say("on"))
        assert of(AskEvent, events) == []
        assert talk.agents.answers() == [{"outcome": {"outcome": "cancelled"}}]


async def test_a_permission_that_the_agent_withdraws_is_closed(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        stream = talk.begin(ask(*OPTIONS, toolCallId="a", title="ls"), say("on"))
        asked = await until(stream, AskEvent)
        agent = talk.agents.last.agent
        agent._do(notify("$/cancel_request", requestId=0))
        assert await until(stream, AskClosed) == AskClosed(ask_id=asked.ask_id)
        assert (await until(stream, ChatToken)).text == "on"
        assert [answer["code"] for answer in talk.agents.answers()] == [-32800]
        await until(stream, ChatCompleted)


async def test_a_permission_without_a_call_is_asked(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        given = {"path": "/a", "lines": [1, 2]}
        stream = talk.begin(ask(*OPTIONS, title="odd", rawInput=given), say("on"))
        asked = await answer(stream, "once")
        assert (asked.call_id, asked.title) == ("", "odd")
        assert asked.detail == "path: /a\nlines: [1, 2]"
        await until(stream, ChatCompleted)


async def test_what_cannot_be_shown_in_full_cannot_be_allowed(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        huge = {"command": "x" * 300_000}
        stream = talk.begin(ask(*OPTIONS, toolCallId="a", title="sh", rawInput=huge), say("."))
        asked = await answer(stream, "no")
        assert list(asked.options) == ["no"]
        assert "more characters are not shown" in asked.detail
        await until(stream, ChatCompleted)


@pytest.mark.parametrize(
    ("before", "call"),
    [
        ((), {"toolCallId": "new", "title": "ls -l", "kind": "execute"}),
        ((tool("a", title="ls -l", kind="execute"),), {"toolCallId": "a"}),
        (
            (tool("a", title="ls -l", kind="execute", status="in_progress"),),
            {"toolCallId": "a", "status": "pending", "locations": []},
        ),
    ],
)
async def test_rule_10_a_permission_is_about_a_call_however_it_is_named(
    tmp_path: Path, before: tuple[Any, ...], call: dict[str, Any]
) -> None:
    async with talking(tmp_path) as talk:
        stream = talk.begin(*before, ask(*OPTIONS, **call), say("done"))
        told = await until(stream, ToolCallEvent)
        asked = await answer(stream, "once")
        assert (asked.call_id, asked.title) == (told.call_id, "ls -l")
        await until(stream, ChatCompleted)


async def test_rule_11_updates_alone_make_a_call_and_ids_come_again(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        for _ in range(2):
            call, result, _ = await talk.say(
                tool("0", again=True, title="read", rawInput={"path": "a"}),
                tool("0", again=True, status="completed", rawOutput="text"),
            )
            assert (call.call_id, call.name, call.arguments["path"]) == ("0", "read", "a")
            assert (result.call_id, result.output) == ("0", "text")


async def test_rule_11_an_id_that_begins_again_within_a_turn_is_another_call(
    tmp_path: Path,
) -> None:
    async with talking(tmp_path) as talk:
        call = (
            tool("0", title="read", status="pending"),
            tool("0", again=True, status="completed"),
            tool("0", again=True, status="completed", title="late"),
        )
        events = await talk.say(*call, *call)
        assert [event.call_id for event in of(ToolCallEvent, events)] == ["0", "0.1"]
        assert [event.call_id for event in of(ToolResultEvent, events)] == ["0", "0.1"]


async def test_rule_11_a_call_that_never_ends_is_closed_with_its_turn(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        events = await talk.say(tool("a", title="bash", status="in_progress"), say("done"))
        (result,) = of(ToolResultEvent, events)
        assert (result.call_id, result.is_error) == ("a", False), "nobody knows"
        assert result.output == "the agent reported no end of this call"
        _, events = await failure_of(talk.begin(tool("a", title="bash"), fail(-32603, "why")))
        assert of(ToolResultEvent, events)[0].is_error


@pytest.mark.parametrize(
    ("said", "output"),
    [
        ({"content": [{"type": "content", "content": {"type": "text", "text": "a"}}]}, "a"),
        ({"rawOutput": {"output": "b", "metadata": {}}}, "b"),
        ({"rawOutput": {"stdout": "c", "stderr": "d"}}, "cd"),
        ({"rawOutput": [{"type": "text", "text": "e"}]}, "e"),
        ({"rawOutput": {"error": "f"}}, "f"),
        ({"rawOutput": {"odd": 1}}, '{\n  "odd": 1\n}'),
        ({"_meta": {"terminal_output_delta": {"data": "g"}}}, "g"),
        ({"content": [{"type": "terminal", "terminalId": "t"}], "rawOutput": "h"}, "h"),
        ({"content": [{"type": "content", "content": {"type": "image"}}]}, "[image]"),
        ({"content": "odd"}, ""),
    ],
)
async def test_rule_12_the_output_is_found_where_it_is(
    tmp_path: Path, said: dict[str, Any], output: str
) -> None:
    async with talking(tmp_path) as talk:
        events = await talk.say(tool("a", title="t", status="completed", **said))
        assert of(ToolResultEvent, events)[0].output == output


async def test_rule_12_a_diff_comes_unrequested(tmp_path: Path) -> None:
    diff = {"type": "diff", "path": "/a", "oldText": "one\n", "newText": "two\n"}
    async with talking(tmp_path) as talk:
        stream = talk.begin(
            ask(*OPTIONS, toolCallId="a", title="edit", content=[diff]),
            tool("a", again=True, status="completed"),
        )
        asked = await answer(stream, "once")
        assert "-one\n+two\n" in asked.detail
        (shown,) = (await until(stream, ToolResultEvent)).diffs
        assert (shown.path, shown.patch) == (
            "/a", "--- /a\n+++ /a\n@@ -1 +1 @@\n-one\n+two\n",
        )  # fmt: skip
        await until(stream, ChatCompleted)


async def test_output_that_grows_is_progress(tmp_path: Path) -> None:
    def shown(text: str) -> Any:
        content = [{"type": "content", "content": {"type": "text", "text": text}}]
        return tool("a", again=True, status="in_progress", content=content)

    async with talking(tmp_path) as talk:
        events = await talk.say(
            shown("a"), shown("ab"), shown("ab"), shown("other"), tool("a", status="completed")
        )
        assert [event.output for event in of(ToolProgressEvent, events)] == ["a", "b"]
        assert of(ToolResultEvent, events)[0].output == "other"


async def test_rule_13_updates_come_at_any_time_and_text_only_in_a_turn(tmp_path: Path) -> None:
    traits = Traits(before=[USED["update"]], after=[say("a banner")["update"]])
    async with talking(tmp_path, traits) as talk:
        late = update("usage_update", used=7, size=100)
        events = await talk.say(say("one"), end("end_turn"), say("late"), late)
        assert (text_of(events), of(UsageEvent, events)) == ("one", [])
        events = await talk.say(say("two"))
        assert text_of(events) == "two"
        assert of(UsageEvent, events) == [UsageEvent(context_used=7, context_size=100)]


async def test_rule_13_gptme_s_banner_is_no_answer(tmp_path: Path) -> None:
    async with talking(tmp_path, Traits(name="gptme")) as talk:
        banner = say("New session", _meta={"source": "gptme"})
        events = await talk.say(banner, say("hi"))
        assert text_of(events) == "hi"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (fail(-32603, "Internal error", {"details": "no credit"}), Code.UNAVAILABLE, "no credit"),
        (fail(-32603, "Internal error: reset", {}), Code.UNAVAILABLE, "Internal error: reset"),
        (fail(401, "bad key"), Code.UNAUTHENTICATED, "bad key"),
        (fail(500, "Internal error", "a text"), Code.UNAVAILABLE, "a text"),
        (fail(-32603, "Internal error"), Code.UNAVAILABLE, "no reason (code -32603)"),
        (fail(-32603, "Internal error", {"details": "400 too long"}), Code.INVALID_ARGUMENT, "400"),
        (fail(-32603, "Error code: 429 - slow down"), Code.RESOURCE_EXHAUSTED, "slow down"),
        (fail(-32603, "key sk-abcdefghijk"), Code.UNAVAILABLE, "key ***"),
    ],
)
async def test_rule_14_an_error_says_its_cause(
    tmp_path: Path, error: Any, code: Code, message: str
) -> None:
    async with talking(tmp_path) as talk:
        failure, events = await failure_of(talk.begin(say("some"), error))
        assert (failure.code, text_of(events)) == (code, "some")
        assert message in failure.message
        assert text_of(await talk.say(say("next"))) == "next"


async def test_rule_14_a_refusal_an_empty_turn_and_a_full_one_are_told_apart(
    tmp_path: Path,
) -> None:
    async with talking(tmp_path) as talk:
        events = await talk.say(say("I cannot"), end("refusal"))
        assert events[-1].stop_reason == StopReason.STOP_REASON_REFUSAL
        assert notices(await talk.say(say(""), end("end_turn"))) == [EMPTY]
        events = await talk.say(say("x"), end("max_turn_requests"))
        assert events[-1].stop_reason == StopReason.STOP_REASON_MAX_STEPS


async def test_rule_15_a_missing_login_in_a_prompt_is_not_told_as_one(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        failure, _ = await failure_of(talk.begin(fail(-32000, "401 from the model")))
        assert failure.code is Code.UNAUTHENTICATED
        assert "log in" not in failure.message


async def test_a_missing_login_before_the_session_says_how_to_log_in(tmp_path: Path) -> None:
    error = {"code": -32000, "message": "Authentication required"}
    async with talking(tmp_path, Traits(new_error=error)) as talk:
        failure, _ = await talk.failure("[]")
        assert failure.message == "log in to the agent first: Run login"
        assert failure.message in talk.backend.health().detail


async def test_rule_16_silence_is_told_and_never_ends_the_turn(tmp_path: Path) -> None:
    async with talking(tmp_path, timeouts=replace(QUICK, silence=0.001)) as talk:
        stream = talk.begin(pause(), say("at last"))
        assert "silent" in (await until(stream, ChatNotice)).message
        assert "silent" in (await until(stream, ChatNotice)).message
        talk.agents.last.agent.go()
        assert (await until(stream, ChatToken)).text == "at last"
        await until(stream, ChatCompleted)


async def test_rule_17_text_that_is_marked_as_repeated_is_restarted(tmp_path: Path) -> None:
    async with talking(tmp_path, Traits(name="codex-acp")) as talk:
        events = await talk.say(
            say("a", messageId="1"), say("b", messageId="1"), say("a", messageId="2"),
            tool("t", title="t", status="completed"), say("c", messageId="3"),
        )  # fmt: skip
        assert of(ChatNotice, events) == [
            ChatNotice(message=AGAIN, discard_tokens=2, keep_text_bytes=0)
        ]
        assert [line for line in await talk.kept() if line[0] == ">"] == ["> a", "> c"]


async def test_rule_17_an_agent_that_says_that_it_retries_is_restarted(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        events = await talk.say(say("a"), notify("_session/retrying"), say("ab"))
        assert of(ChatNotice, events)[0].discard_tokens == 1
        assert notices(await talk.say(notify("_session/retrying"), say("x"))) == []


async def test_rule_17_other_text_is_kept_even_if_it_comes_twice(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        events = await talk.say(say("a", messageId="1"), say("a", messageId="2"))
        assert text_of(events) == "aa"


@pytest.mark.parametrize("between", ["", "and then "])
async def test_rule_17_text_that_may_be_a_repeat_is_told_of_once(
    tmp_path: Path, between: str
) -> None:
    """It is one if it begins with a piece of its own, as a retry does."""
    text = [f"piece {number}, " for number in range(12)]
    pieces = [*text, *([between] if between else []), *text, *text]
    async with talking(tmp_path) as talk:
        events = await talk.say(*map(say, pieces))
        assert text_of(events) == "".join(pieces)
        assert notices(events) == [DOUBLED]
        events = await talk.say(*map(say, text), tool("a", title="t"), *map(say, text))
        assert notices(events) == [], "a tool call is between them"
        events = await talk.say(say("".join(text)), say(between + text[0]), say("other"))
        assert notices(events) == []


async def test_rule_18_empty_chunks_carry_the_usage(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        meta = {"usage": {"inputTokens": 11, "outputTokens": 7}}
        events = await talk.say(say("x"), say("", _meta=meta), say("\ud83d"), say("\ude00"))
        assert text_of(events) == "x\U0001f600"
        assert (events[-1].input_tokens, events[-1].output_tokens) == (11, 7)


async def test_rule_19_a_session_is_loaded_into_a_new_process_and_its_history_dropped(
    tmp_path: Path,
) -> None:
    traits = Traits(loads=True, history=[say("old")["update"], tool("a", title="t")["update"]])
    async with talking(tmp_path, traits) as talk:
        await talk.say(say("old"))
        failure, _ = await failure_of(talk.begin(say("x"), leave(3)))
        assert failure.code is Code.ABORTED
        assert failure.message == "the agent ended with exit code 3: out of luck"
        events = await talk.say(say("new"))
        assert [type(event) for event in events] == [ChatToken, ChatCompleted]
        assert [load["sessionId"] for load in talk.agents.sent("session/load")] == ["session-1"]


@pytest.mark.parametrize("traits", [Traits(loads=False), Traits(loads=True, session="other")])
async def test_rule_19_an_agent_that_has_forgotten_the_conversation_says_so(
    tmp_path: Path, traits: Traits
) -> None:
    async with talking(tmp_path, Traits(loads=True)) as talk:
        await talk.say(say("old"))
        talk.agents.traits = traits
        talk.agents.last.end(0)
        events = await talk.say(say("new"))
        assert (text_of(events), notices(events)) == ("new", [FORGOTTEN])
        assert notices(await talk.say(say("more"))) == []


async def test_rule_20_a_session_that_another_conversation_has_is_not_used(
    tmp_path: Path,
) -> None:
    async with talking(tmp_path) as talk:
        await talk.say(say("mine"))
        await talk.renew()
        failure, _ = await failure_of(talk.begin(say("yours")))
        assert failure.code is Code.FAILED_PRECONDITION


async def test_rule_23_the_mode_is_set_and_checked(tmp_path: Path) -> None:
    def state(current: str) -> dict[str, Any]:
        choices = [{"value": "default"}, {"name": "Group", "options": [{"value": "plan"}]}]
        option = {"id": "m", "category": "mode", "currentValue": current, "options": choices}
        return {"configOptions": [option]}

    traits = Traits(state=state("default"), sets=state("plan"))
    async with talking(tmp_path, traits, mode="plan") as talk:
        assert text_of(await talk.say(say("hi"))) == "hi"
        (sent,) = talk.agents.sent("session/set_config_option")
        assert (sent["configId"], sent["value"]) == ("m", "plan")
    async with talking(tmp_path / "2", replace(traits, sets=state("default")), mode="plan") as talk:
        failure, _ = await talk.failure("[]")
        assert "did not take the mode 'plan'" in failure.message


async def test_rule_23_a_mode_that_the_agent_does_not_offer_is_an_error(tmp_path: Path) -> None:
    modes = {"currentModeId": "auto", "availableModes": [{"id": "auto"}, {"id": "ask"}]}
    async with talking(tmp_path, Traits(state={"modes": modes}, sets={}), mode="safe") as talk:
        failure, _ = await talk.failure("[]")
        assert failure.code is Code.FAILED_PRECONDITION
        assert "its modes: auto, ask" in failure.message
    async with talking(tmp_path / "2", Traits(state={"modes": modes}, sets={}), mode="ask") as talk:
        assert text_of(await talk.say(say("hi"))) == "hi"
        assert talk.agents.sent("session/set_mode")[0]["modeId"] == "ask"


async def test_rule_23_an_agent_that_never_asks_is_told_of_at_the_start(tmp_path: Path) -> None:
    async with talking(tmp_path, Traits(name="fast-agent-acp")) as talk:
        assert notices(await talk.say(say("hi"))) == [NEVER_ASKS]
        assert notices(await talk.say(say("hi"))) == []


async def test_rule_24_only_what_is_served_is_offered(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        await talk.say(say("hi"))
        (sent,) = talk.agents.sent("initialize")
        assert sent["clientCapabilities"] == {
            "fs": {"readTextFile": False, "writeTextFile": False},
            "terminal": False,
            "elicitation": {"form": {}, "url": {}},
            "session": {"configOptions": {"boolean": {}}, "notices": {}},
        }
