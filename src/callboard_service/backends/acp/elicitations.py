"""The questions of an agent besides permissions: forms, and addresses to open. No I/O.

Each field of a form is an ask; after several of them, an ask shows all that is going to be sent.
Declining any of them declines the form.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from callboard.v1.chat_pb2 import AnswerRequest, AskClosed, AskEvent, AskOption
from callboard_service.backends.acp.forms import FormField, Unfit, Value, fields_of
from callboard_service.backends.acp.jsonrpc import Request, RequestId
from callboard_service.backends.acp.permissions import MAX_SHOWN, Settlement
from callboard_service.backends.bounds import MAX_OPEN_ASKS
from callboard_service.backends.fields import Table, table, text

CANCELLED: Final[Table] = {"action": "cancel"}
DECLINED: Final[Table] = {"action": "decline"}

ACCEPT, DECLINE, SEND, AGAIN = "Accept", "Decline", "Send", "Start again"

MAX_URL: Final = 8 * 1024


@dataclass(slots=True)
class _Open:
    """A question that is open. at: the field that is asked; after the last one, the whole form."""

    request_id: RequestId
    title: str
    fields: Sequence[FormField]
    detail: str = ""
    at: int = 0
    values: dict[str, Value] = field(default_factory=dict)
    ask_id: str = ""


class Elicitations:
    """The questions of one turn. turn_id: makes the ids of its asks unique."""

    def __init__(self, turn_id: str) -> None:
        self._turn_id = turn_id
        self._open: dict[str, _Open] = {}
        self._asked = 0

    @property
    def waiting(self) -> bool:
        """Whether any question is open."""
        return bool(self._open)

    def ask(self, request: Request) -> AskEvent | None:
        """Open the first ask of an `elicitation/create`, and return its event.

        Returns None if it cannot be shown in full, or has something that is not known: then the
        answer is CANCELLED.
        """
        params = request.params
        one: _Open | None = None
        title = text(params, "message").strip() or "The agent asks a question"
        if params.get("mode", "form") == "form":
            fields = fields_of(table(params, "requestedSchema"))
            one = None if fields is None else _Open(request.id, title, fields)
        elif params.get("mode") == "url" and (shown := _shown(text(params, "url"))):
            one = _Open(request.id, title, (), shown)
        if one is None or len(self._open) >= MAX_OPEN_ASKS:
            return None
        longest = max([len(title), *(len(each.detail()) for each in one.fields)])
        return None if longest > MAX_SHOWN else self._next(one)

    def answer(self, answer: AnswerRequest) -> Settlement | None:
        """Take an answer, which ends the question or leads to the next ask.

        Returns None if the ask is not open.
        """
        one = self._open.pop(answer.ask_id, None)
        if one is None:
            return None
        answers = list(answer.answers)
        closed = AskClosed(ask_id=answer.ask_id, answers=answers, answered=True)
        in_form = one.at < len(one.fields)
        if not answers or (answers == [DECLINE] and not in_form):
            return Settlement(one.request_id, DECLINED, [closed])
        try:
            accepted = self._take(one, answers)
        except Unfit as unfit:
            return Settlement(one.request_id, None, [closed, self._next(one, f"{unfit}\n")])
        if not accepted:
            return Settlement(one.request_id, None, [closed, self._next(one)])
        content = {"content": one.values} if one.fields else {}
        return Settlement(one.request_id, {"action": "accept", **content}, [closed])

    def withdraw(self, request_id: object) -> list[Settlement]:
        """Close the question of a request that the agent has withdrawn."""
        return [self._void(one) for one in self._list() if one.request_id == request_id]

    def close(self) -> list[Settlement]:
        """Close what is open when the turn ends or is stopped."""
        return [self._void(one) for one in self._list()]

    def _list(self) -> list[_Open]:
        return list(self._open.values())

    def _void(self, one: _Open) -> Settlement:
        del self._open[one.ask_id]
        return Settlement(one.request_id, CANCELLED, [AskClosed(ask_id=one.ask_id)])

    def _take(self, one: _Open, answers: Sequence[str]) -> bool:
        """Take an answer; return whether the question is accepted. Raises Unfit."""
        if one.at < len(one.fields):
            asked = one.fields[one.at]
            value = asked.read(answers)
            one.at += 1
            if value is None:
                one.values.pop(asked.key, None)
            else:
                one.values[asked.key] = value
            return len(one.fields) == 1
        if answers == [AGAIN] and one.fields:
            one.at = 0
            return False
        if answers != [SEND if one.fields else ACCEPT]:
            raise Unfit("That is not one of the choices.")
        return True

    def _next(self, one: _Open, before: str = "") -> AskEvent:
        """Open the next ask of a question. before: what is said before its detail."""
        self._asked += 1
        one.ask_id = f"{self._turn_id}-form-{self._asked}"
        self._open[one.ask_id] = one
        multiple = False
        if one.at < len(one.fields):
            asked = one.fields[one.at]
            detail, options, multiple = asked.detail(), asked.options, asked.kind == "array"
        elif one.fields:
            given = [(each, one.values.get(each.key)) for each in one.fields]
            lines = [f"{each.heading}: {'' if v is None else each.show(v)}" for each, v in given]
            detail, options = "\n".join(lines), [SEND, AGAIN, DECLINE]
        else:
            detail, options = one.detail, [ACCEPT, DECLINE]
        return AskEvent(
            ask_id=one.ask_id,
            kind=AskEvent.KIND_QUESTION,
            title=one.title,
            detail=before + detail,
            options=options,
            choices=[AskOption(value=option, name=option) for option in options],
            multiple=multiple,
        )


def _shown(url: str) -> str:
    """Return an address for a person, with its host; empty if it is none that can be opened."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host or len(url) > MAX_URL:
        return ""
    return f"Open this address in a browser; it is at {host}:\n{url}"
