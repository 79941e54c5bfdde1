"""Why a model stopped: stops.py."""

import pytest

from callboard.v1.chat_pb2 import ChatCompleted, StopReason
from callboard_service.backends.stops import stopped

END_TURN = StopReason.STOP_REASON_END_TURN
MAX_TOKENS = StopReason.STOP_REASON_MAX_TOKENS


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", END_TURN),
        ("STOP", END_TURN),
        ("tool-calls", END_TURN),
        ("length", MAX_TOKENS),
        ("MAX_TOKENS", MAX_TOKENS),
        ("content-filter", StopReason.STOP_REASON_CONTENT_FILTER),
        ("SAFETY", StopReason.STOP_REASON_CONTENT_FILTER),
        ("refusal", StopReason.STOP_REASON_REFUSAL),
        ("max_turn_requests", StopReason.STOP_REASON_MAX_STEPS),
        ("context_full", StopReason.STOP_REASON_CONTEXT_FULL),
    ],
)
def test_the_words_of_servers_and_agents(word: str, reason: "StopReason.ValueType") -> None:
    assert stopped(word, input_tokens=1, output_tokens=2) == ChatCompleted(
        input_tokens=1, output_tokens=2, stop_reason=reason
    )


def test_an_unknown_word_is_passed_on() -> None:
    assert stopped(" quota_of_the_day ") == ChatCompleted(stop_detail="quota_of_the_day")
    assert len(stopped("x" * 10_000).stop_detail) == 200


def test_no_word_says_nothing() -> None:
    assert stopped("") == ChatCompleted()
