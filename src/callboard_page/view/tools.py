"""Tool calls: what was called, with what, what came of it, and what it changed."""

import json
from typing import Final

from google.protobuf.json_format import MessageToDict

from callboard.v1.chat_pb2 import Attachment, FileDiff, Location, ToolKind
from callboard_page.chat import Chat
from callboard_page.nodes import Element, Event, Node, h
from callboard_page.view.parts import button, hidden, icon, size_of
from transport.client.followed_turn import ToolCall

MOST_SHOWN: Final = 20_000
"""Characters of an output that are shown, the last ones; all of it can be copied."""

MOST_LINES: Final = 1_000
"""Lines of a diff that are shown, the first ones."""

_VERBS: Final = {
    ToolKind.TOOL_KIND_READ: "Read",
    ToolKind.TOOL_KIND_EDIT: "Edit",
    ToolKind.TOOL_KIND_DELETE: "Delete",
    ToolKind.TOOL_KIND_MOVE: "Move",
    ToolKind.TOOL_KIND_SEARCH: "Search",
    ToolKind.TOOL_KIND_EXECUTE: "Run",
    ToolKind.TOOL_KIND_THINK: "Think",
    ToolKind.TOOL_KIND_FETCH: "Fetch",
}


def tool_view(chat: Chat, tool: ToolCall, key: str, *, ended: bool) -> Element:
    """Return a tool call; its details can be opened. ended: its turn has ended."""
    shown_at_first = bool(tool.result is not None and tool.result.diffs)
    opened = (key in chat.toggled) != shown_at_first

    def toggled(event: Event) -> None:
        event.prevent()
        chat.toggle(key)

    state, label = _state(tool, ended=ended)
    return h(
        "details",
        h(
            "summary",
            icon("chevron"),
            h("span", _VERBS.get(tool.call.kind, "Tool"), class_="kind"),
            h("span", tool.call.title or tool.call.name or "a tool", class_="title"),
            h("span", hidden(label), class_=f"state {state}", title=label),
            on={"click": toggled},
        ),
        _details(chat, tool) if opened else None,
        open=opened,
        class_="tool",
        key=key,
    )


def _state(tool: ToolCall, *, ended: bool) -> tuple[str, str]:
    if tool.result is None:
        return ("error", "ended without a result") if ended else ("running", "running")
    return ("error", "failed") if tool.result.is_error else ("done", "done")


def _details(chat: Chat, tool: ToolCall) -> list[Node]:
    nodes: list[Node] = []
    if tool.call.locations:
        nodes.append(h("p", ", ".join(map(_location, tool.call.locations)), class_="places"))
    if tool.call.HasField("arguments") and tool.call.arguments.fields:
        arguments = json.dumps(MessageToDict(tool.call.arguments), indent=2, ensure_ascii=False)
        nodes += [h("h4", "Arguments"), _scrolled(arguments)]
    if tool.result is not None:
        nodes += [_diff(diff) for diff in tool.result.diffs]
    if tool.output:
        copy = button("Copy", lambda: chat.window.copy(tool.output), class_="quiet copy")
        nodes += [h("div", h("h4", "Output"), copy, class_="code-head"), _scrolled(tool.output)]
    if tool.result is not None:
        nodes += [attachment_view(chat, one) for one in tool.result.attachments]
    return nodes or [h("p", "There is nothing to show.", class_="empty")]


def _scrolled(text: str) -> Element:
    left_out = len(text) - MOST_SHOWN
    if left_out > 0:
        text = f"… {left_out} characters are left out here\n{text[-MOST_SHOWN:]}"
    return h("pre", text, tabindex=0)


def _location(location: Location) -> str:
    return f"{location.path}:{location.line}" if location.line else location.path


def _diff(diff: FileDiff) -> Element:
    lines = diff.patch.removesuffix("\n").split("\n")
    while lines and lines[0].startswith(("+++ ", "--- ")):
        del lines[0]  # the path is in the heading; below it, such a line is one that was changed
    left_out = len(lines) - MOST_LINES
    return h(
        "div",
        h("h4", diff.path),
        h(
            "pre",
            [h("span", line + "\n", class_=_line(line)) for line in lines[:MOST_LINES]],
            f"… {left_out} lines are left out here" if left_out > 0 else None,
            tabindex=0,
        ),
        class_="diff",
    )


def _line(line: str) -> str | None:
    return {"+": "added", "-": "removed", "@": "hunk"}.get(line[:1])


def attachment_view(chat: Chat, attachment: Attachment) -> Element:
    """Return an attachment that was sent: a picture, or a file that can be saved."""
    name = attachment.name or "attachment"
    picture = ""
    if attachment.media_type.startswith("image/") and attachment.id:
        picture = chat.picture(attachment)
    if picture:
        return h("img", src=picture, alt=name, class_="picture", key=attachment.id)
    label = f"Save {name}"
    return h(
        "button",
        icon("file"),
        h("span", name),
        h("span", size_of(attachment.size), class_="size"),
        type="button",
        class_="attachment",
        aria_label=label,
        title=label,
        on={"click": lambda _: chat.save(attachment)},
        key=attachment.id,
    )
