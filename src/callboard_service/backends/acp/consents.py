"""What the agent asks the service to do, and a person must allow: the asks of one turn. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass

from callboard.v1.chat_pb2 import AnswerRequest, AskClosed, AskEvent, AskOption
from callboard_service.backends.acp.jsonrpc import RequestId
from callboard_service.backends.acp.permissions import MAX_SHOWN, Settlement
from callboard_service.backends.bounds import MAX_OPEN_ASKS

ALLOW, ALLOW_ALL, REJECT = "allow", "allow_all", "reject"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the agent wants to have done.

    kind: what else is allowed if everything of its kind is. title, detail: all that a person should
    see. all_of_them: the name of the choice that allows everything of its kind.
    """

    kind: str
    title: str
    detail: str
    all_of_them: str

    def choices(self) -> list[AskOption]:
        """Return what a person chooses from."""
        return [
            AskOption(value=ALLOW, name="Allow once", kind=AskOption.KIND_ALLOW_ONCE),
            AskOption(value=ALLOW_ALL, name=self.all_of_them, kind=AskOption.KIND_ALLOW_ALWAYS),
            AskOption(value=REJECT, name="Reject", kind=AskOption.KIND_REJECT_ONCE),
        ]


@dataclass(frozen=True, slots=True)
class _Open:
    """decided: is told whether it is allowed; None: the ask is void."""

    request_id: RequestId
    kind: str
    decided: Callable[[bool | None], None]


class Consents:
    """The asks of one turn. turn_id: makes their ids unique."""

    def __init__(self, turn_id: str) -> None:
        self._turn_id = turn_id
        self._open: dict[str, _Open] = {}
        self._all: set[str] = set()
        self._asked = 0

    @property
    def waiting(self) -> bool:
        """Whether any ask is open."""
        return bool(self._open)

    def allows_all(self, kind: str) -> bool:
        """Return whether everything of a kind was allowed."""
        return kind in self._all

    def ask(
        self, request_id: RequestId, wish: Wish, decided: Callable[[bool | None], None]
    ) -> AskEvent | None:
        """Open an ask, and return its event; None if it cannot be shown in full."""
        longest = max(len(wish.title), len(wish.detail))
        if longest > MAX_SHOWN or len(self._open) >= MAX_OPEN_ASKS:
            return None
        self._asked += 1
        ask_id = f"{self._turn_id}-client-{self._asked}"
        self._open[ask_id] = _Open(request_id, wish.kind, decided)
        choices = wish.choices()
        return AskEvent(
            ask_id=ask_id,
            kind=AskEvent.KIND_PERMISSION,
            title=wish.title,
            detail=wish.detail,
            options=[choice.value for choice in choices],
            choices=choices,
        )

    def answer(self, answer: AnswerRequest) -> Settlement | None:
        """Take an answer; None if the ask is not open. Without a choice it is refused."""
        one = self._open.pop(answer.ask_id, None)
        if one is None:
            return None
        chosen = answer.answers[0] if list(answer.answers) in ([ALLOW], [ALLOW_ALL]) else REJECT
        if chosen == ALLOW_ALL:
            self._all.add(one.kind)
        one.decided(chosen != REJECT)
        closed = AskClosed(ask_id=answer.ask_id, answers=[chosen], answered=True)
        return Settlement(one.request_id, None, [closed])

    def withdraw(self, request_id: object) -> list[Settlement]:
        """Close the ask of a request that the agent has withdrawn."""
        gone = [key for key, one in self._open.items() if one.request_id == request_id]
        return [self._void(ask_id) for ask_id in gone]

    def close(self) -> list[Settlement]:
        """Close what is open when the turn ends or is stopped."""
        return [self._void(ask_id) for ask_id in list(self._open)]

    def _void(self, ask_id: str) -> Settlement:
        one = self._open.pop(ask_id)
        one.decided(None)
        return Settlement(one.request_id, None, [AskClosed(ask_id=ask_id)])
