"""The state of a followed conversation: a snapshot and the events after it, merged. No I/O.

It has the turns that are open and those that have ended since following began; older turns are in
the history (GetHistory).
"""

from typing import Final

from callboard.v1.chat_pb2 import (
    CommandList,
    ConversationEvent,
    ConversationSnapshot,
    OptionList,
    SessionInfo,
    TurnInfo,
    UsageEvent,
)
from transport.client.followed_turn import FollowedTurn

MAX_ENDED: Final = 64
"""Ended turns that the state keeps; older ones are in the history."""


class ConversationState:
    """A conversation as its events show it.

    position: up to which the state has everything; 0 before the first snapshot. last_entry: the
    newest history entry of an ended turn when the last snapshot was made. deleted: set once the
    conversation is gone.
    """

    def __init__(self) -> None:
        self.position: int = 0
        self.info: SessionInfo = SessionInfo()
        self.turns: dict[str, FollowedTurn] = {}
        """By id: the open turns in their order, after those that have ended meanwhile."""
        self.last_entry: str = ""
        self.options: OptionList = OptionList()
        self.usage: UsageEvent = UsageEvent()
        self.commands: CommandList = CommandList()
        self._unfinished = False

    @property
    def open_turns(self) -> list[FollowedTurn]:
        """The turns that have not ended, the running one first."""
        return [turn for turn in self.turns.values() if not turn.ended]

    def apply(self, event: ConversationEvent) -> None:
        """Apply one event. Events must come in order; one that was applied before is ignored."""
        kind = event.WhichOneof("event")
        if kind == "snapshot":
            self._begin_again(event.snapshot)
            if not event.snapshot.more:  # a part alone is no state to continue from
                self.position = event.position
        elif event.position > self.position:
            self._apply(event, event.turn_id, kind)
            self.position = event.position

    def _begin_again(self, snapshot: ConversationSnapshot) -> None:
        # Only the first part has the conversation's info. It may come while another snapshot is
        # unfinished: the rest of that one was lost with its session.
        if snapshot.HasField("info") or not self._unfinished:
            # A turn that was open and is not in the snapshot has ended; the history has it.
            self.turns = {}
            self.info.CopyFrom(snapshot.info)
            self.last_entry = snapshot.last_entry
            self.options.CopyFrom(snapshot.options)
            self.usage.CopyFrom(snapshot.usage)
            self.commands.CopyFrom(snapshot.commands)
        self._unfinished = snapshot.more
        for opened in snapshot.turns:
            self._set_info(opened.info)
            for event in opened.events:
                self._apply(event, opened.info.id, event.WhichOneof("event"))

    def _apply(self, event: ConversationEvent, turn_id: str, kind: str | None) -> None:
        match kind:
            case "info":
                self.info.CopyFrom(event.info)
            case "options":
                self.options.CopyFrom(event.options)
            case "commands":
                self.commands.CopyFrom(event.commands)
            case "usage":
                self.usage.CopyFrom(event.usage)
            case "turn":
                self._set_info(event.turn)
            case _:
                if (turn := self.turns.get(turn_id)) is not None:
                    turn.apply(event)

    def _set_info(self, info: TurnInfo) -> None:
        turn = self.turns.get(info.id)
        if turn is None:
            turn = self.turns[info.id] = FollowedTurn(TurnInfo())
        turn.set_info(info)
        if turn.ended:
            self._forget_old()
        elif info.place:
            self._sort()

    def _forget_old(self) -> None:
        ended = [name for name, turn in self.turns.items() if turn.ended]
        for name in ended[:-MAX_ENDED]:
            del self.turns[name]

    def _sort(self) -> None:
        """Put the queue in order, behind the turns that have started."""
        ordered = sorted(self.turns.items(), key=lambda item: item[1].info.place)
        self.turns = dict(ordered)
