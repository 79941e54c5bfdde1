"""Costs over sizes, each size in its column, in an SVG of its own making."""

from collections.abc import Mapping
from html import escape
from typing import Final

_WIDTH: Final = 900
_PANEL: Final = 150
_LEFT: Final = 60
_TOP: Final = 40
_STYLE: Final = (
    "text{font:12px sans-serif;fill:#222}.t{font-weight:bold}.m{text-anchor:middle}"
    "polyline{fill:none;stroke:#2f6f4f;stroke-width:1.5}circle{fill:#2f6f4f}line{stroke:#bbb}"
)


def growth(title: str, panels: Mapping[str, Mapping[int, float]]) -> str:
    """One panel each, from 0 to its highest value; what stays flat is a level line."""
    height = _TOP + _PANEL * len(panels)
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style>',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text class="t" x="10" y="20">{escape(title)}</text>',
    ]
    for number, (name, points) in enumerate(panels.items()):
        parts += _panel(name, points, _TOP + number * _PANEL)
    return "".join([*parts, "</svg>\n"])


def _panel(name: str, points: Mapping[int, float], top: float) -> list[str]:
    bottom, room = top + _PANEL - 40, _PANEL - 75
    most = max(points.values(), default=0.0) or 1.0
    step = (_WIDTH - _LEFT - 60) / max(len(points) - 1, 1)
    placed = [
        (_LEFT + 20 + index * step, bottom - value / most * room, size, value)
        for index, (size, value) in enumerate(points.items())
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in placed)
    parts = [
        f'<text class="t" x="10" y="{top + 12}">{escape(name)}</text>',
        f'<line x1="{_LEFT}" x2="{_WIDTH - 20}" y1="{bottom}" y2="{bottom}"/>',
        f'<polyline points="{line}"/>',
    ]
    for x, y, size, value in placed:
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>',
            f'<text class="m" x="{x:.1f}" y="{y - 7:.1f}">{value:g}</text>',
            f'<text class="m" x="{x:.1f}" y="{bottom + 16}">{size:,}</text>',
        ]
    return parts
