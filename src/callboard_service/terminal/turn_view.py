"""Shows the events of one turn, each of them once, however often they come."""

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatError,
    ChatNotice,
    ChatToken,
    PlanEvent,
    ReasoningToken,
    SteerEvent,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    TurnInfo,
    UsageEvent,
)
from callboard_service.terminal.feed import Shown
from callboard_service.terminal.printed import PrintedText
from callboard_service.terminal.text import why_stopped
from callboard_service.terminal.view import View


class TurnView:
    """A turn on a view. error, why_stopped: how it ended; the latter is empty if complete.

    answered: the answers that this client gave, by ask.
    """

    def __init__(self, view: View) -> None:
        self.error: ChatError | None = None
        self.why_stopped: str = ""
        self.answered: dict[str, list[str]] = {}
        self._view = view
        self._text = PrintedText()
        self._reasoning = PrintedText()
        self._again = False
        self._calls: dict[str, ToolCallEvent] = {}
        self._seen: set[tuple[str, str]] = set()
        self._plan: PlanEvent | None = None
        self._usage: UsageEvent | None = None

    def begin_again(self) -> None:
        """Note that the events now come again from the turn's beginning."""
        self._again = True
        self._text.begin_again()
        self._reasoning.begin_again()

    def first_time(self, kind: str, name: str) -> bool:
        """Return whether this is the first call with these arguments."""
        key = (kind, name)
        new = key not in self._seen
        self._seen.add(key)
        return new

    def show(self, event: Shown) -> None:
        """Print an event, unless it was printed before."""
        view = self._view
        match event:
            case ChatToken():
                self._show_text(event.text)
            case ReasoningToken():
                text, _ = self._reasoning.add(event.text)
                if text:
                    view.reasoning(text)
            case ToolCallEvent():
                if self._calls.get(event.call_id) != event:
                    self._calls[event.call_id] = event
                    view.tool_call(event)
            case ToolProgressEvent():
                view.tool_progress(event)
            case ToolResultEvent():
                if self.first_time("result", event.call_id):
                    view.tool_result(event)
            case AskEvent():
                if self.first_time("ask", event.ask_id):
                    view.ask(event)
            case AskClosed():
                self._show_closed(event)
            case _:
                self._note(event)

    def _note(
        self,
        event: ChatNotice
        | PlanEvent
        | UsageEvent
        | SteerEvent
        | TurnInfo
        | ChatCompleted
        | ChatError,
    ) -> None:
        match event:
            case SteerEvent():
                if self.first_time("steered", event.text) or not self._again:
                    self._view.steered(event)
            case ChatNotice():
                if self.first_time("notice", event.message) or not self._again:
                    self._view.notice(event)
                if event.HasField("keep_text_bytes"):
                    self._text.cut(event.keep_text_bytes)
            case PlanEvent():
                self._show_plan(event)
            case UsageEvent():
                self._usage = event
            case ChatCompleted():
                self.why_stopped = why_stopped(event)
            case ChatError():
                self.error = event
            case TurnInfo():
                pass

    def _show_text(self, text: str) -> None:
        text, anew = self._text.add(text)
        if anew:
            self._view.line("the reply differs from what is above; it comes again:")
        if text:
            self._view.token(text)

    def _show_plan(self, plan: PlanEvent) -> None:
        """Print a plan that differs from the last one. Those that come again were printed."""
        new = self.first_time("plan", plan.SerializeToString(deterministic=True).hex())
        if new or (plan != self._plan and not self._again):
            self._view.plan(plan)
        self._plan = plan

    def _show_closed(self, closed: AskClosed) -> None:
        known = self.answered.get(closed.ask_id) == list(closed.answers)
        if self.first_time("closed", closed.ask_id) and not known:
            self._view.ask_closed(closed)

    def end(self, *, compare: bool = True) -> None:
        """End the reply on the view. compare: say how much of the printed text was not kept."""
        self._view.end()
        if compare and (lost := self._text.missing):
            what = "character" if lost == 1 else f"{lost} characters"
            self._view.line(f"not kept of the text above: the last {what}")
        if self._usage is not None:
            self._view.usage(self._usage)
