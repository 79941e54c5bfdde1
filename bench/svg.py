"""The frame of an SVG, shared by the plots of the benchmarks."""

from collections.abc import Iterable
from html import escape
from typing import Final

WIDTH: Final = 900
_STYLE: Final = "text{font:12px sans-serif;fill:#222}.t{font-weight:bold}"


def page(height: int, style: str, title: str, parts: Iterable[str]) -> str:
    """Return an SVG of width WIDTH with its title at the top left. style: additional CSS."""
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}{style}</style>'
        '<rect width="100%" height="100%" fill="#fff"/>'
        f'<text class="t" x="10" y="20">{escape(title)}</text>'
    )
    return "".join([head, *parts, "</svg>\n"])
