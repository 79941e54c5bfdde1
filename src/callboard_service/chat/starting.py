"""How a turn starts: an actor of its own runs it."""

from typing import TYPE_CHECKING, Final

from actors import Lifecycle, Restart
from callboard.v1.chat_pb2 import TurnState
from callboard_service.backends.base import Prompt
from callboard_service.chat.runner import TurnRunner
from callboard_service.chat.turn import OpenTurn
from callboard_service.store.histories import RecentTurns

if TYPE_CHECKING:
    from callboard_service.chat.conversation import Conversation

# A reply that runs when its conversation stops is interrupted: nothing is gained by waiting.
_RUNNER: Final = Lifecycle(restart=Restart.TEMPORARY, shutdown=0.0)


def run(conversation: "Conversation", turn: OpenTurn, recent: RecentTurns | None = None) -> None:
    """Start the actor that runs a turn, which the store has as RUNNING; recent: see Prompt."""
    environment = conversation.environment
    prompt = Prompt(
        conversation_id=conversation.id,
        text=turn.kept.text,
        model=turn.kept.model,
        answered=turn.output.answers.get,
        session=turn.session,
        turn_id=turn.id,
        resumed=turn.resumed,
        attachments=turn.kept.attachments,
        choices=conversation.choices,
        recent=recent,
    )
    turn.state, turn.place = TurnState.TURN_STATE_RUNNING, 0
    turn.runner = conversation.context.spawn(
        lambda: TurnRunner(environment.backend, prompt, turn.output, environment.available),
        name=turn.id,
        lifecycle=_RUNNER,
    )
    conversation.context.watch(turn.runner)
