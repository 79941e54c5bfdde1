"""Plot costs over sizes, with evenly spaced sizes, as an SVG without a plotting library."""

from collections.abc import Mapping
from html import escape
from typing import Final

from bench.svg import WIDTH, page

_PANEL: Final = 150
_LEFT: Final = 60
_TOP: Final = 40
_STYLE: Final = (
    ".m{text-anchor:middle}"
    "polyline{fill:none;stroke:#2f6f4f;stroke-width:1.5}circle{fill:#2f6f4f}line{stroke:#bbb}"
)


def growth(title: str, panels: Mapping[str, Mapping[int, float]]) -> str:
    """Return one panel per entry, from 0 to its highest value; a constant cost is a level line."""
    height = _TOP + _PANEL * len(panels)
    parts: list[str] = []
    for number, (name, points) in enumerate(panels.items()):
        parts += _panel(name, points, _TOP + number * _PANEL)
    return page(height, _STYLE, title, parts)


def _panel(name: str, points: Mapping[int, float], top: float) -> list[str]:
    bottom, room = top + _PANEL - 40, _PANEL - 75
    most = max(points.values(), default=0.0) or 1.0
    step = (WIDTH - _LEFT - 60) / max(len(points) - 1, 1)
    placed = [
        (_LEFT + 20 + index * step, bottom - value / most * room, size, value)
        for index, (size, value) in enumerate(points.items())
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in placed)
    parts = [
        f'<text class="t" x="10" y="{top + 12}">{escape(name)}</text>',
        f'<line x1="{_LEFT}" x2="{WIDTH - 20}" y1="{bottom}" y2="{bottom}"/>',
        f'<polyline points="{line}"/>',
    ]
    for x, y, size, value in placed:
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>',
            f'<text class="m" x="{x:.1f}" y="{y - 7:.1f}">{value:g}</text>',
            f'<text class="m" x="{x:.1f}" y="{bottom + 16}">{size:,}</text>',
        ]
    return parts
