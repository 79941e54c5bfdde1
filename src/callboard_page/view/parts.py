"""Small pieces that several views use."""

from collections.abc import Callable
from typing import Final

from callboard_page.nodes import Child, Element, Event, Handler, h

_ICONS: Final = {
    "menu": "M4 6h16M4 12h16M4 18h16",
    "plus": "M12 5v14M5 12h14",
    "send": "M12 19V5M6 11l6-6 6 6",
    "stop": "M5 5h14v14H5z",
    "attach": "M20 11l-8 8a5 5 0 0 1-7-7l8-8a3.300 3.300 0 0 1 5 5l-8 8a1.500 1.500 0 0 1-2-2l7-7",
    "close": "M6 6l12 12M18 6L6 18",
    "more": "M6 12h.01M12 12h.01M18 12h.01",
    "up": "M12 19V6M6 12l6-6 6 6",
    "down": "M12 5v13M6 12l6 6 6-6",
    "edit": "M4 20h4L19 9l-4-4L4 16v4zM13 7l4 4",
    "fork": "M6 4v5a4 4 0 0 0 4 4h4a4 4 0 0 1 4 4v3M6 4l-3 3M6 4l3 3M6 13v7",
    "retry": "M4 12a8 8 0 1 0 2.500-5.800M4 4v4h4",
    "copy": "M9 9h10v11H9zM5 15V4h10",
    "search": "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM20 20l-4-4",
    "board": "M4 5h7v6H4zM14 5h6v4h-6zM4 14h5v5H4zM12 13h8v6h-8z",
    "file": "M6 3h8l4 4v14H6zM14 3v4h4",
    "chevron": "M9 6l6 6-6 6",
}


def icon(name: str) -> Element:
    """Return an icon, which screen readers skip."""
    return h(
        "svg",
        h("path", d=_ICONS[name]),
        viewBox="0 0 24 24",
        class_="icon",
        aria_hidden="true",
    )


def button(
    label: str,
    act: Callable[[], None],
    *,
    name: str = "",
    class_: str = "",
    disabled: bool = False,
    title: str = "",
    key: str = "",
) -> Element:
    """Return a button. name: of its icon, beside which `label` is only spoken; empty: the text."""

    def clicked(event: Event) -> None:
        event.prevent()
        act()

    return h(
        "button",
        icon(name) if name else label,
        type="button",
        class_=class_ or ("icon-button" if name else None),
        aria_label=label if name else None,
        title=title or (label if name else None),
        disabled=disabled,
        on={"click": clicked},
        key=key,
    )


def keys(actions: dict[str, Callable[[], None]]) -> Handler:
    """Return a handler that does what a key stands for; input methods keep their keys."""

    def pressed(event: Event) -> None:
        act = actions.get(event.key)
        if act is not None and event.plain and not event.shift and not event.composing:
            event.prevent()
            act()

    return pressed


def hidden(*children: Child) -> Element:
    """Return a text for screen readers alone."""
    return h("span", *children, class_="hidden")


def size_of(size: int) -> str:
    """Return a number of bytes as a person reads it."""
    return _rounded(size, ("B", "kB", "MB", "GB"), " ")


def count_of(count: int) -> str:
    """Return a number of tokens as a person reads it."""
    return _rounded(count, ("", "k", "M"), "")


def _rounded(number: float, units: tuple[str, ...], space: str) -> str:
    """Return the number in the unit in which it has at most three digits before the point."""
    place = 0
    while number >= (999.5 if place else 1000) and place < len(units) - 1:
        number, place = number / 1000, place + 1
    digits = 1 if place and number < 9.95 else 0
    return f"{number:.{digits}f}{space}{units[place]}"
