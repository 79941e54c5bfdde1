"""The questions that OpenCode asks the user during a reply, and the answers. No I/O.

A permission request is one ask. A request with several questions becomes one ask per question; it
is answered to OpenCode once all are answered or one is declined.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from actors import Code, Failure
from callboard.v1.chat_pb2 import AnswerRequest, AskClosed, AskEvent, AskOption
from callboard_service.backends.bounds import MAX_OPEN_ASKS, MAX_OPTIONS, check_room
from callboard_service.backends.fields import (
    Table,
    items,
    name,
    table,
    tables,
    text,
    texts,
)

CHOICES: Final = ("once", "always", "reject")

_LONGEST: Final = 256 * 1024
"""Maximum characters of a title or a detail."""

_REFUSE: Final = ("reject",)
_TITLES: Final = {
    "bash": "Run a command",
    "edit": "Change a file",
    "external_directory": "Access files outside the project",
    "webfetch": "Fetch from the web",
}


@dataclass(frozen=True, slots=True)
class Settlement:
    """The POST that settles a request in OpenCode."""

    request_id: str
    path: str
    body: Mapping[str, object]


@dataclass(slots=True)
class _Request:
    """An open request, with the ids of its asks."""

    request_id: str
    asks: list[str]
    permission: bool
    answers: dict[str, list[str]] = field(default_factory=dict)
    posted: bool = False


class Asks:
    """The asks of one reply."""

    def __init__(self) -> None:
        self._open: dict[str, _Request] = {}
        self._seen: set[str] = set()

    @property
    def waiting(self) -> bool:
        """Whether any request is open."""
        return bool(self._open)

    def permission(self, data: Table) -> list[AskEvent]:
        """Open the ask of a `permission.asked` event or a listed permission; return its event.

        The id of its call is OpenCode's.
        """
        request_id = self._enter(data, 1, permission=True)
        if request_id is None:
            return []
        kind, patterns = text(data, "permission"), texts(data.get("patterns"))
        title = _TITLES.get(kind, kind or "Permission")
        what = ", ".join(patterns)
        title = f"{title}: {what}" if what else title
        detail = _detail(table(data, "metadata"))
        whole = len(title) <= _LONGEST and len(detail) <= _LONGEST
        event = AskEvent(
            ask_id=request_id,
            kind=AskEvent.KIND_PERMISSION,
            call_id=text(table(data, "tool"), "callID"),
            title=_cut(title),
            detail=_cut(detail),
            # Nobody can approve what is too long to be shown.
            options=CHOICES if whole else _REFUSE,
            choices=_choices(texts(data.get("always")), all_of_them=whole),
        )
        return [event]

    def question(self, data: Table) -> list[AskEvent]:
        """Open the asks of a `question.asked` event or a listed request; return their events.

        Raises Failure: RESOURCE_EXHAUSTED for too many questions or too long options.
        """
        questions = tables(data, "questions")
        labels = (text(option, "label") for q in questions for option in tables(q, "options"))
        if sum(map(len, labels)) > MAX_OPTIONS:
            raise Failure(
                Code.RESOURCE_EXHAUSTED, "the reply asks a question whose options are too long"
            )
        request_id = self._enter(data, len(questions), permission=False)
        if request_id is None:
            return []
        call_id = text(table(data, "tool"), "callID")
        events = []
        for ask_id, question in zip(self._open[request_id].asks, questions, strict=True):
            options = tables(question, "options")
            lines = [f"{text(o, 'label')}: {text(o, 'description')}" for o in options]
            events.append(
                AskEvent(
                    ask_id=ask_id,
                    kind=AskEvent.KIND_QUESTION,
                    call_id=call_id,
                    title=_cut(text(question, "question") or text(question, "header")),
                    detail=_cut("\n".join(lines)),
                    options=[text(option, "label") for option in options],
                    multiple=question.get("multiple") is True,
                )
            )
        return events

    def _enter(self, data: Table, count: int, *, permission: bool) -> str | None:
        request_id = name(data, "id")
        if not request_id or not count or request_id in self._seen:
            return None
        check_room(self._seen, "asks")
        if count + sum(len(request.asks) for request in self._open.values()) > MAX_OPEN_ASKS:
            message = f"the reply asks more than {MAX_OPEN_ASKS} questions at once"
            raise Failure(Code.RESOURCE_EXHAUSTED, message)
        self._seen.add(request_id)
        numbers = range(1, count + 1)
        asks = [request_id] if count == 1 else [f"{request_id}.{number}" for number in numbers]
        self._open[request_id] = _Request(request_id, asks, permission)
        return request_id

    def answer(self, answer: AnswerRequest) -> Settlement | None:
        """Record a user's answer; return what to post once the request is settled, or None."""
        for request in self._open.values():
            if answer.ask_id in request.asks and not request.posted:
                break
        else:
            return None
        if answer.ask_id in request.answers:
            return None
        request.answers[answer.ask_id] = list(answer.answers)
        if request.permission:
            request.posted = True
            return _permission(request, answer)
        if not answer.answers:
            request.posted = True
            return Settlement(request.request_id, f"/question/{request.request_id}/reject", {})
        if len(request.answers) < len(request.asks):
            return None
        request.posted = True
        answers = [request.answers[ask_id] for ask_id in request.asks]
        path = f"/question/{request.request_id}/reply"
        return Settlement(request.request_id, path, {"answers": answers})

    def replied(self, data: Table) -> list[AskClosed]:
        """Close the asks of `permission.replied`, `question.replied` or `question.rejected`."""
        request_id = name(data, "requestID") or name(data, "permissionID")
        if request_id not in self._seen:
            check_room(self._seen, "asks")
            self._seen.add(request_id)
        request = self._open.pop(request_id, None)
        if request is None:
            return []
        if request.permission:
            reply = text(data, "reply") or text(data, "response")
            return _closed(request, [[reply] if reply else []], answered=True)
        answers = [texts(answer) for answer in items(data, "answers")]
        return _closed(request, answers, answered=True)

    def only(self, request_ids: set[str]) -> list[AskClosed]:
        """Close the requests that are not in `request_ids`: they were settled meanwhile."""
        gone = [request for name, request in self._open.items() if name not in request_ids]
        for request in gone:
            del self._open[request.request_id]
        events: list[AskClosed] = []
        for request in gone:
            answers = [request.answers.get(name, []) for name in request.asks]
            events += _closed(request, answers, answered=request.posted)
        return events


def _closed(
    request: _Request, answers: Sequence[Sequence[str]], *, answered: bool
) -> list[AskClosed]:
    padded = [*answers, *([()] * len(request.asks))]
    return [
        AskClosed(ask_id=ask_id, answers=chosen, answered=answered)
        for ask_id, chosen in zip(request.asks, padded, strict=False)
    ]


def _permission(request: _Request, answer: AnswerRequest) -> Settlement:
    """Return the answer to post; anything that is not a valid single choice is a rejection."""
    chosen = answer.answers[0] if len(answer.answers) == 1 else "reject"
    body: dict[str, object] = {"reply": chosen if chosen in CHOICES else "reject"}
    request.answers[answer.ask_id] = [str(body["reply"])]
    if body["reply"] == "reject" and answer.message:
        body["message"] = answer.message
    return Settlement(request.request_id, f"/permission/{request.request_id}/reply", body)


def _choices(always: Sequence[str], *, all_of_them: bool) -> list[AskOption]:
    """Return the options of a permission. always: what is allowed from then on."""
    refuse = AskOption(value="reject", name="Reject once", kind=AskOption.KIND_REJECT_ONCE)
    if not all_of_them:
        return [refuse]
    # OpenCode 1.18.33 keeps what was allowed in memory, for all conversations of a project.
    scope = f" {', '.join(always)}" if always else ""
    always_name = f"Always allow{scope} in this project, until OpenCode ends"
    return [
        AskOption(value="once", name="Allow once", kind=AskOption.KIND_ALLOW_ONCE),
        AskOption(value="always", name=_cut(always_name), kind=AskOption.KIND_ALLOW_ALWAYS),
        refuse,
    ]


def _detail(metadata: Table) -> str:
    """Return what the user should see before deciding: the change, the command or the file."""
    for key in ("diff", "command", "filepath", "filePath", "url"):
        if value := text(metadata, key):
            return value
    return ""


def _cut(text: str) -> str:
    """Return a text, cut and marked if it is too long."""
    more = len(text) - _LONGEST
    return text if more <= 0 else f"{text[:_LONGEST]}\n[{more} more characters are not shown]"
