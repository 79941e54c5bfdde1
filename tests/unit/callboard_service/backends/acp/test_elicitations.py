"""The questions of an agent besides permissions: forms, and addresses to open."""

import json
from pathlib import Path
from typing import Any

import pytest

from actors.testing import Answers
from callboard.v1.chat_pb2 import AnswerRequest, AskClosed, AskEvent
from callboard_service.backends.acp.elicitations import ACCEPT, AGAIN, DECLINE, SEND
from callboard_service.backends.acp.forms import LEAVE_OUT, MAX_FIELDS, Unfit, fields_of
from callboard_service.backends.acp.turn import NOT_ASKED
from callboard_service.backends.base import ReplyEvent
from tests.support.conversing import text_of
from tests.support.scripted_agent import Step, end, notify, raw, request, say
from tests.unit.callboard_service.backends.acp.talking import notices, of, talking, until

COLOURS = {"type": "string", "oneOf": [{"const": "r", "title": "Red"}, {"const": "g"}]}
CANCELLED = {"action": "cancel"}


def form(*required: str, **properties: Any) -> Step:
    schema = {"type": "object", "properties": properties, "required": required}
    return request("elicitation/create", mode="form", message="Tell me", requestedSchema=schema)


def link(url: str) -> Step:
    return request("elicitation/create", mode="url", message="Log in", url=url, elicitationId="e1")


async def fill(stream: Answers[ReplyEvent], *answers: str | list[str]) -> list[AskEvent]:
    """Answer one ask after the other, and return them."""
    asked = []
    for each in answers:
        ask = await until(stream, AskEvent)
        said = [each] if isinstance(each, str) else each
        stream.tell(AnswerRequest(ask_id=ask.ask_id, answers=said))
        asked.append(ask)
    return asked


async def test_a_form_is_asked_field_by_field_and_shown_before_it_is_sent(tmp_path: Path) -> None:
    fields = {
        "name": {"type": "string", "title": "Your name", "description": "as in the passport"},
        "colour": COLOURS,
        "age": {"type": "integer", "minimum": 1},
        "size": {"type": "number"},
        "sure": {"type": "boolean"},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 2},
        "note": {"type": "string"},
    }
    async with talking(tmp_path) as talk:
        stream = talk.begin(form("name", "colour", **fields), say("thanks"))
        asked = await fill(stream, "Ann", "Red", "42", "1.5", "Yes", ["a", "c"], "-", SEND)
        assert text_of([event async for event in stream]) == "thanks"
        content = {
            "name": "Ann", "colour": "r", "age": 42, "size": 1.5, "sure": True, "tags": ["a", "c"],
        }  # fmt: skip
        assert talk.agents.answers() == [{"action": "accept", "content": content}]
    name, colour, age, _, sure, tags, note, review = asked
    assert {ask.title for ask in asked} == {"Tell me"}
    assert {ask.kind for ask in asked} == {AskEvent.KIND_QUESTION}
    assert len({ask.ask_id for ask in asked}) == len(asked)
    assert name.detail == "Your name\nas in the passport"
    assert (list(name.options), list(colour.options)) == ([], ["Red", "g"])
    assert "answer - to leave it empty" in age.detail
    assert list(sure.options) == ["Yes", "No", LEAVE_OUT]
    assert (tags.multiple, note.multiple) == (True, False)
    assert list(review.options) == [SEND, AGAIN, DECLINE]
    assert review.detail == (
        "Your name: Ann\ncolour: Red\nage: 42\nsize: 1.5\nsure: Yes\ntags: a, c\nnote: "
    )


async def test_one_answer_is_sent_at_once(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        stream = talk.begin(form("colour", colour=COLOURS), say("thanks"))
        await fill(stream, "g")
        events = [event async for event in stream]
        assert of(AskClosed, events) == [
            AskClosed(ask_id=of(AskClosed, events)[0].ask_id, answers=["g"], answered=True)
        ]
        assert talk.agents.answers() == [{"action": "accept", "content": {"colour": "g"}}]


async def test_a_form_can_be_filled_in_again(tmp_path: Path) -> None:
    text = {"type": "string"}
    async with talking(tmp_path) as talk:
        stream = talk.begin(form("a", "b", a=text, b=text), say("thanks"))
        await fill(stream, "1", "2", AGAIN, "3", "4", SEND)
        await until(stream, AskClosed)
        assert text_of([event async for event in stream]) == "thanks"
        assert talk.agents.answers() == [{"action": "accept", "content": {"a": "3", "b": "4"}}]


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_form_is_declined_with_any_of_its_fields(tmp_path: Path, at: int) -> None:
    text = {"type": "string"}
    async with talking(tmp_path) as talk:
        stream = talk.begin(form("a", "b", a=text, b=text), say("well"))
        await fill(stream, *["x", "y"][:at], [] if at < 2 else DECLINE)
        assert text_of([event async for event in stream]) == "well"
        assert talk.agents.answers() == [{"action": "decline"}]


async def test_an_answer_that_does_not_fit_is_asked_for_again(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        age = {"type": "integer", "minimum": 18}
        stream = talk.begin(form("age", age=age), say("thanks"))
        asked = await fill(stream, "many", "17", "18")
        assert [ask.detail.splitlines()[0] for ask in asked] == [
            "age", "That is not a whole number.", "The least is 18.",
        ]  # fmt: skip
        assert text_of([event async for event in stream]) == "thanks"
        assert talk.agents.answers() == [{"action": "accept", "content": {"age": 18}}]


async def test_a_form_without_fields_is_accepted_or_declined(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        stream = talk.begin(form(), form(), say("done"))
        await fill(stream, ACCEPT, DECLINE)
        assert text_of([event async for event in stream]) == "done"
        assert talk.agents.answers() == [{"action": "accept"}, {"action": "decline"}]


async def test_an_address_is_shown_with_its_host(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        url = "https://agent.example@login.example:8443/x?y=z"
        stream = talk.begin(link(url), link(url), say("done"))
        ask, _ = await fill(stream, ACCEPT, [])
        assert ask.detail.splitlines()[-1] == url
        assert "at login.example:" in ask.detail
        assert (ask.title, list(ask.options)) == ("Log in", [ACCEPT, DECLINE])
        assert text_of([event async for event in stream]) == "done"
        assert talk.agents.answers() == [{"action": "accept"}, {"action": "decline"}]


@pytest.mark.parametrize(
    "step",
    [
        link("javascript://example.org/%0aalert(1)"),
        link("file:///etc/passwd"),
        link("https://"),
        link("https://[x/"),
        link("https://example.org/" + "x" * 10_000),
        form(x={"type": "object"}),
        form(x={"type": "array", "items": {"type": "string"}}),
        form(x={"type": "string", "description": "x" * 300_000}),
        form(x={"type": "string", "enum": ["x" * 100_000]}),
        form(**{str(n): {"type": "string"} for n in range(MAX_FIELDS + 1)}),
        request("elicitation/create", mode="voice", message="Speak"),
    ],
    ids=lambda step: str(step)[40:80],
)
async def test_what_cannot_be_shown_is_cancelled_with_a_notice(tmp_path: Path, step: Step) -> None:
    async with talking(tmp_path) as talk:
        events = await talk.say(step, say("done"))
        assert (of(AskEvent, events), notices(events), text_of(events)) == ([], [NOT_ASKED], "done")
        assert talk.agents.answers() == [CANCELLED]


async def test_a_stop_cancels_what_is_open(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        stream = talk.begin(form(x={"type": "string"}))
        ask = await until(stream, AskEvent)
        await talk.stop(stream)
        entries = await talk.entries()
        closed = [entry.ask_closed for entry in entries if entry.HasField("ask_closed")]
        assert closed == [AskClosed(ask_id=ask.ask_id)]
        await talk.say(say("next"))
        assert talk.agents.answers() == [CANCELLED]


async def test_a_question_that_the_agent_withdraws_is_closed(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        stream = talk.begin(form(x={"type": "string"}), say("done"))
        ask = await until(stream, AskEvent)
        talk.agents.last.agent._do(notify("$/cancel_request", requestId=0))
        closed = await until(stream, AskClosed)
        assert closed == AskClosed(ask_id=ask.ask_id)
        assert text_of([event async for event in stream]) == "done"
        assert [one["code"] for one in talk.agents.answers()] == [-32800]


async def test_a_question_outside_of_a_turn_is_cancelled(tmp_path: Path) -> None:
    late = {"jsonrpc": "2.0", "id": 9, "method": "elicitation/create", "params": {}}
    async with talking(tmp_path) as talk:
        await talk.say(say("one"), end("end_turn"), raw(json.dumps(late)))
        await talk.say(say("two"))
        assert talk.agents.answers() == [CANCELLED]


def field(**described: Any) -> Any:
    fields = fields_of({"properties": {"x": described}, "required": []})
    assert fields is not None
    return fields[0]


def test_choices_have_names_of_their_own() -> None:
    same = [{"const": "1", "title": "Same"}, {"const": "2", "title": "Same"}]
    assert field(type="string", oneOf=same).choices == {"Same": "1", "Same (2)": "2"}
    old = field(type="string", enum=["1", "2", "3"], enumNames=["One", "Two"])
    assert old.choices == {"One": "1", "Two": "2", "3": "3"}
    odd = field(type="string", enum=[LEAVE_OUT, 5])
    assert odd.choices == {f"{LEAVE_OUT} ({LEAVE_OUT})": LEAVE_OUT}
    assert field(type="string", enum=["Decline"]).read(["Decline"]) == "Decline"


def test_a_default_stands_for_what_is_left_out() -> None:
    with_default = field(type="integer", default=7)
    assert "Default: 7\nAnswer - for the default." in with_default.detail()
    assert (with_default.read(["-"]), with_default.read([" 8 "])) == (7, 8)
    assert field(type="string", enum=["a"], default="a").read([LEAVE_OUT]) is None
    assert field(type="number", default=True).default is None


@pytest.mark.parametrize(
    ("described", "answers"),
    [
        ({"type": "string", "maxLength": 2}, ["abc"]),
        ({"type": "string", "minLength": 2}, ["a"]),
        ({"type": "string"}, ["x" * 20_000]),
        ({"type": "string", "enum": ["a"]}, ["b"]),
        ({"type": "number"}, ["nan"]),
        ({"type": "number"}, ["inf"]),
        ({"type": "number", "maximum": 1}, ["1.1"]),
        ({"type": "integer"}, ["1.5"]),
        ({"type": "boolean"}, ["maybe"]),
        ({"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 1}, ["a", "b"]),
        ({"type": "array", "items": {"enum": ["a"]}, "minItems": 1}, ["c"]),
    ],
)
def test_an_answer_must_fit(described: Any, answers: list[str]) -> None:
    with pytest.raises(Unfit):
        field(**described).read(answers)
