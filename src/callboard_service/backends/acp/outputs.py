"""Where an agent puts the output of a tool: into `content`, `rawOutput` or `_meta`. No I/O."""

import json
from collections.abc import Sequence
from typing import Final

from callboard_service.backends.bounds import MAX_REPLY_BYTES
from callboard_service.backends.fields import (
    Table,
    as_table,
    as_tables,
    raw_text,
    table,
    text,
)
from callboard_service.backends.foreign import clean

_SAYS: Final = ("output", "text", "formatted_output", "aggregated_output", "content", "result")
_FAILS: Final = ("error", "message")


def text_of_block(block: Table) -> str:
    """Return a content block as text: what is not text is named in brackets."""
    match text(block, "type"):
        case "text":
            return text(block, "text")
        case "resource_link":
            return f"[{text(block, 'name') or text(block, 'uri')}]"
        case "resource":
            resource = table(block, "resource")
            return text(resource, "text") or f"[{text(resource, 'uri')}]"
        case "":
            return ""
        case kind:
            return f"[{kind[:40]}]"


def text_of_content(content: Sequence[Table]) -> str:
    """Return the text of a call's `content`; changes and terminals are left to others."""
    blocks = [table(item, "content") for item in content if text(item, "type") == "content"]
    return "\n".join(filter(None, map(text_of_block, blocks)))


def terminal_output(meta: Table) -> str:
    """Return what a call adds to its output in `_meta`, as Codex does; empty: nothing."""
    delta = table(meta, "terminal_output_delta") or table(meta, "terminal_output")
    return text(delta, "data")


def text_of_raw(value: object) -> str:
    """Return a `rawOutput` as text."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        texts = [text_of_block(block) for block in as_tables(value)]
        if any(texts):
            return "\n".join(filter(None, texts))
    fields = as_table(value)
    for key in _SAYS:
        if said := raw_text(fields, key):
            return clean(said)
    printed = [raw_text(fields, key) for key in ("stdout", "stderr")]
    if any(printed):
        return clean("".join(printed))
    for key in _FAILS:
        if said := raw_text(fields, key):
            return clean(said)
    return _encoded(value)


def _encoded(value: object) -> str:
    """Return a value as JSON; empty if it says nothing."""
    if value is None or value in ({}, [], ""):
        return ""
    try:
        encoded = json.dumps(value, ensure_ascii=False, indent=2)
    except (ValueError, TypeError, RecursionError):
        return "[output nested too deeply to show]"
    return clean(encoded[:MAX_REPLY_BYTES])
