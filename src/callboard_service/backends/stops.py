"""Translate the reason why a model stopped into the contract's terms.

Servers and agents have different words for the same few reasons: OpenAI's API says `length`,
Anthropic's `max_tokens`, Gemini's `MAX_TOKENS`, Cohere's `COMPLETE` and Mistral's `model_length`.
"""

import re
from typing import Final

from callboard.v1.chat_pb2 import ChatCompleted, StopReason
from callboard_service.backends.foreign import clean

_WORDS: Final = {
    StopReason.STOP_REASON_END_TURN: (
        "stop", "stopped", "end", "end_turn", "eos", "eos_token", "stop_sequence", "complete",
        "completed", "done", "finished", "tool_calls", "tool_call", "tool_use", "function_call",
    ),
    StopReason.STOP_REASON_MAX_TOKENS: (
        "length", "max_tokens", "max_output_tokens", "max_new_tokens", "max_length", "token_limit",
    ),
    StopReason.STOP_REASON_CONTENT_FILTER: (
        "content_filter", "content_filtered", "safety", "image_safety", "prohibited_content",
        "blocklist", "recitation", "spii", "guardrail_intervened",
    ),
    StopReason.STOP_REASON_REFUSAL: ("refusal", "refused"),
    StopReason.STOP_REASON_MAX_STEPS: ("max_steps", "max_turns", "max_turn_requests"),
    StopReason.STOP_REASON_CONTEXT_FULL: (
        "context_full", "context_length", "context_length_exceeded", "model_length",
        "model_context_window_exceeded",
    ),
    # Words without information.
    StopReason.STOP_REASON_UNSPECIFIED: (
        "", "unknown", "other", "none", "null", "unspecified", "finish_reason_unspecified",
    ),
}  # fmt: skip
_REASONS: Final = {word: reason for reason, words in _WORDS.items() for word in words}

_BETWEEN_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s-]+")
_MAX_DETAIL: Final = 200


def stopped(word: str, *, input_tokens: int = 0, output_tokens: int = 0) -> ChatCompleted:
    """Return the ChatCompleted for a model that stopped for the reason named by `word`.

    Case, hyphens and spaces do not matter. A word that the contract has no term for becomes
    `stop_detail`, cut to 200 characters.
    """
    word = clean(word[: 2 * _MAX_DETAIL]).strip()
    reason = _REASONS.get(_BETWEEN_WORDS.sub("_", word).lower())
    return ChatCompleted(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        stop_reason=StopReason.STOP_REASON_UNSPECIFIED if reason is None else reason,
        stop_detail=word[:_MAX_DETAIL] if reason is None else "",
    )
