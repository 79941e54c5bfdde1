"""Parse a server's list of models; servers agree only on how they name them. No I/O."""

import json
from collections.abc import Mapping
from typing import Final

from callboard_service.backends.foreign import clean

_MAX_NAME: Final = 256
_MAX_TOKENS: Final = 2**31

_CONTEXT: Final = (
    "loaded_context_length",  # LM Studio
    "max_model_len",  # vLLM, SGLang
    "context_length",  # OpenRouter, Together
    "context_window",  # Groq
    "max_context_length",  # Mistral
    "n_ctx",  # llama.cpp, in `meta`
)


def listed_models(body: bytes | None) -> dict[str, int] | None:
    """Return the names in a list of models, each with its context in tokens (0: unknown).

    Return None if `body` is not such a list.
    """
    try:
        value = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    models = value.get("data") if isinstance(value, dict) else value
    if not isinstance(models, list):
        return None
    named: dict[str, int] = {}
    for model in models:
        name = model.get("id") if isinstance(model, dict) else None
        if isinstance(name, str) and name:
            named.setdefault(clean(name)[:_MAX_NAME], _context(model))
    return named


def _context(model: Mapping[str, object]) -> int:
    """Return how many tokens prompt and reply may have together; 0 if unknown."""
    meta = model.get("meta")
    places = (model, meta) if isinstance(meta, dict) else (model,)
    for place in places:
        for key in _CONTEXT:
            size = place.get(key)
            if type(size) is int and 0 < size < _MAX_TOKENS:
                return size
    return 0
