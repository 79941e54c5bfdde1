"""Why a model stopped, in the contract's terms.

Servers and agents have different words for the same few reasons: OpenAI's API says `length`,
Anthropic's `max_tokens`, Gemini's `MAX_TOKENS`. A word without a term in the contract is passed on.
"""

from typing import Final

from callboard.v1.chat_pb2 import ChatCompleted, StopReason

_KNOWN: Final = {
    "stop": StopReason.STOP_REASON_END_TURN,
    "end_turn": StopReason.STOP_REASON_END_TURN,
    "stop_sequence": StopReason.STOP_REASON_END_TURN,
    "tool_calls": StopReason.STOP_REASON_END_TURN,
    "tool_use": StopReason.STOP_REASON_END_TURN,
    "function_call": StopReason.STOP_REASON_END_TURN,
    "length": StopReason.STOP_REASON_MAX_TOKENS,
    "max_tokens": StopReason.STOP_REASON_MAX_TOKENS,
    "content_filter": StopReason.STOP_REASON_CONTENT_FILTER,
    "safety": StopReason.STOP_REASON_CONTENT_FILTER,
    "refusal": StopReason.STOP_REASON_REFUSAL,
    "max_turn_requests": StopReason.STOP_REASON_MAX_STEPS,
    "context_full": StopReason.STOP_REASON_CONTEXT_FULL,
    "model_context_window_exceeded": StopReason.STOP_REASON_CONTEXT_FULL,
}
_MAX_DETAIL: Final = 200


def stopped(word: str, *, input_tokens: int = 0, output_tokens: int = 0) -> ChatCompleted:
    """Return the end of a reply whose model stopped for the reason that `word` names.

    An unknown word becomes `stop_detail`, cut to 200 characters. An empty one says nothing.
    """
    known = _KNOWN.get(word.strip().lower().replace("-", "_"))
    return ChatCompleted(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        stop_reason=known if known is not None else StopReason.STOP_REASON_UNSPECIFIED,
        stop_detail="" if known is not None else word.strip()[:_MAX_DETAIL],
    )
