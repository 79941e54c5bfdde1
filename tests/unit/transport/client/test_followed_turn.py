from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    Attachment,
    ChatCompleted,
    ChatError,
    ChatNotice,
    ChatToken,
    ConversationEvent,
    HistoryEntry,
    PlanEntry,
    PlanEvent,
    ReasoningToken,
    SteerEvent,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    TurnInfo,
    TurnState,
)
from transport.client.followed_turn import (
    AskPart,
    FollowedTurn,
    ReasoningPart,
    SteeredPart,
    TextPart,
    ToolCall,
    turns_of,
)


def turn(*events: ConversationEvent) -> FollowedTurn:
    made = FollowedTurn(TurnInfo(id="t"))
    for event in events:
        made.apply(event)
    return made


def token(text: str) -> ConversationEvent:
    return ConversationEvent(token=ChatToken(text=text))


def call(name: str = "read", call_id: str = "c") -> ConversationEvent:
    return ConversationEvent(tool_call=ToolCallEvent(call_id=call_id, name=name))


def shape(made: FollowedTurn) -> list[object]:
    """Describe the parts: the text of texts, the name of calls, the type of others."""
    return [
        part.text
        if isinstance(part, TextPart)
        else part.call.name
        if isinstance(part, ToolCall)
        else type(part)
        for part in made.parts
    ]


def test_parts_keep_the_order_in_which_they_came() -> None:
    made = turn(
        ConversationEvent(reasoning=ReasoningToken(text="hm")),
        ConversationEvent(reasoning=ReasoningToken(text="m")),
        token("I look"),
        token(" first."),
        call(),
        ConversationEvent(ask=AskEvent(ask_id="a")),
        ConversationEvent(steered=SteerEvent(message_id="m", text="quick")),
        token("Done."),
    )

    assert shape(made) == ["hmm", "I look first.", "read", AskPart, SteeredPart, "Done."]
    assert isinstance(made.parts[0], ReasoningPart)
    assert (made.reply, made.reasoning) == ("I look first.Done.", "hmm")


def test_a_tool_call_is_one_part_whatever_becomes_of_it() -> None:
    made = turn(
        call("?"),
        call("read"),
        ConversationEvent(tool_progress=ToolProgressEvent(call_id="c", output="a")),
        ConversationEvent(tool_progress=ToolProgressEvent(call_id="c", output="b")),
    )
    assert shape(made) == ["read"]
    assert made.tools["c"].output == "ab"

    made.apply(ConversationEvent(tool_result=ToolResultEvent(call_id="c", output="all")))
    assert made.tools["c"].output == "all"
    assert made.tools["c"].result is not None


def test_events_of_unknown_calls_are_ignored() -> None:
    made = turn(
        ConversationEvent(tool_progress=ToolProgressEvent(call_id="x", output="a")),
        ConversationEvent(tool_result=ToolResultEvent(call_id="x", output="a")),
    )
    assert made.parts == []


def test_a_question_is_one_part_and_knows_how_it_was_settled() -> None:
    made = turn(
        ConversationEvent(ask=AskEvent(ask_id="a", title="?")),
        ConversationEvent(ask=AskEvent(ask_id="a", title="May I?")),
        ConversationEvent(ask=AskEvent(ask_id="b")),
    )
    assert list(made.asks) == ["a", "b"]
    assert made.asks["a"].title == "May I?"

    made.apply(ConversationEvent(ask_closed=AskClosed(ask_id="a", answers=["yes"], answered=True)))
    first, second = made.parts
    assert isinstance(first, AskPart)
    assert first.closed is not None
    assert isinstance(second, AskPart)
    assert second.closed is None
    assert list(made.asks) == ["b"]


def test_a_discard_cuts_the_text_wherever_it_is() -> None:
    made = turn(
        token("äb"),
        call(),
        token("cd"),
        ConversationEvent(notice=ChatNotice(message="again", keep_text_bytes=4)),
    )
    assert shape(made) == ["äb", "read", "c"]
    assert made.notice == "again"

    made.apply(ConversationEvent(notice=ChatNotice(keep_text_bytes=0)))
    assert shape(made) == ["read"]
    made.apply(token("new"))
    assert made.reply == "new"


def test_a_turn_knows_its_plan_and_its_end() -> None:
    plan = PlanEvent(entries=[PlanEntry(text="look")])
    made = turn(
        ConversationEvent(plan=plan),
        ConversationEvent(completed=ChatCompleted(output_tokens=3)),
        ConversationEvent(error=ChatError(message="no")),
        ConversationEvent(),
    )
    assert made.plan == plan
    assert made.completed is not None
    assert made.error is not None


def test_a_change_of_state_keeps_the_message() -> None:
    made = FollowedTurn(TurnInfo())
    made.set_info(TurnInfo(id="t", text="hi", attachments=[Attachment(name="a")]))
    made.set_info(TurnInfo(id="t", state=TurnState.TURN_STATE_COMPLETED))
    assert (made.text, made.attachments[0].name, made.ended) == ("hi", "a", True)


def test_each_change_is_counted() -> None:
    made = turn(token("a"), token("b"))
    assert made.changes == 2
    made.set_info(TurnInfo())
    assert made.changes == 3


def test_a_history_becomes_the_turns_that_a_follower_saw() -> None:
    turns = turns_of(
        [
            HistoryEntry(id="1", turn_id="t", assistant_text="the end of an older one"),
            HistoryEntry(id="2", turn_id="u", user_text="hel", attachments=[Attachment(name="f")]),
            HistoryEntry(id="3", turn_id="u", user_text="lo"),
            HistoryEntry(id="4", turn_id="u", reasoning_text="hm"),
            HistoryEntry(id="5", turn_id="u", tool_call=ToolCallEvent(call_id="c", name="read")),
            HistoryEntry(id="6", turn_id="u", ask=AskEvent(ask_id="a")),
            HistoryEntry(id="7", turn_id="u", ask_closed=AskClosed(ask_id="a")),
            HistoryEntry(id="8", turn_id="u", tool_result=ToolResultEvent(call_id="c", output="x")),
            HistoryEntry(
                id="9", turn_id="u", assistant_text="hi", completed=ChatCompleted(output_tokens=1)
            ),
            HistoryEntry(id="10", turn_id="v", user_text="more"),
            HistoryEntry(id="11", turn_id="v", error=ChatError(message="no")),
            HistoryEntry(id="12"),
        ]
    )
    first, second, third, last = turns
    assert (first.text, first.reply, first.entry) == ("", "the end of an older one", "1")
    assert (second.text, second.entry, second.attachments[0].name) == ("hello", "2", "f")
    assert shape(second) == ["hm", "read", AskPart, "hi"]
    assert second.asks == {}
    assert second.completed is not None
    assert third.error is not None
    assert [one.info.state for one in turns] == [
        TurnState.TURN_STATE_UNSPECIFIED,
        TurnState.TURN_STATE_COMPLETED,
        TurnState.TURN_STATE_FAILED,
        TurnState.TURN_STATE_UNSPECIFIED,
    ]
    assert last.parts == []


def test_conversations_from_before_turns_had_ids_are_split_at_each_message() -> None:
    turns = turns_of(
        [
            HistoryEntry(id="1", user_text="a"),
            HistoryEntry(id="2", assistant_text="A"),
            HistoryEntry(id="3", user_text="b"),
            HistoryEntry(id="4", assistant_text="B"),
        ]
    )
    assert [(one.text, one.reply) for one in turns] == [("a", "A"), ("b", "B")]


def test_a_turn_of_the_history_that_was_stopped_or_interrupted_says_so() -> None:
    turns = turns_of(
        [
            HistoryEntry(id="1", turn_id="t", error=ChatError(code="CANCELLED")),
            HistoryEntry(id="2", turn_id="u", error=ChatError(code="ABORTED")),
        ]
    )
    assert [one.info.state for one in turns] == [
        TurnState.TURN_STATE_CANCELLED,
        TurnState.TURN_STATE_INTERRUPTED,
    ]
