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
        ("model_length", StopReason.STOP_REASON_CONTEXT_FULL),
        ("eos", END_TURN),
        ("COMPLETE", END_TURN),
        ("toolCalls", END_TURN),
        ("end turn", END_TURN),
        ("maxTokens", MAX_TOKENS),
        ("max_output_tokens", MAX_TOKENS),
        ("PROHIBITED_CONTENT", StopReason.STOP_REASON_CONTENT_FILTER),
    ],
)
def test_the_words_of_servers_and_agents(word: str, reason: "StopReason.ValueType") -> None:
    assert stopped(word, input_tokens=1, output_tokens=2) == ChatCompleted(
        input_tokens=1, output_tokens=2, stop_reason=reason
    )


def test_an_unknown_word_is_passed_on() -> None:
    assert stopped(" quota_of_the_day ") == ChatCompleted(stop_detail="quota_of_the_day")
    assert len(stopped("x" * 10_000).stop_detail) == 200


@pytest.mark.parametrize("word", ["", " ", "unknown", "other", "null"])
def test_a_word_that_says_nothing_is_none(word: str) -> None:
    assert stopped(word) == ChatCompleted()


def test_half_a_surrogate_pair_is_no_failure() -> None:
    assert stopped("a\ud83d") == ChatCompleted(stop_detail="a\ufffd")
