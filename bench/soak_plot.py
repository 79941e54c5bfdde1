"""Plot what the service held, second by second, as an SVG without a plotting library."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from bench.svg import WIDTH, page

_PANEL: Final = 130
_LEFT: Final = 60
_TOP: Final = 40
_STYLE: Final = (
    ".e{text-anchor:end}polyline{fill:none;stroke:#2f6f4f;stroke-width:1.5}line{stroke:#bbb}"
)


def lines(title: str, panels: Mapping[str, Sequence[float]]) -> str:
    """Return one panel per entry, from 0 to its highest value, over the seconds."""
    height = _TOP + _PANEL * len(panels) + 20
    parts: list[str] = []
    for number, (name, values) in enumerate(panels.items()):
        parts += _panel(name, values, _TOP + number * _PANEL)
    return page(height, _STYLE, title, parts)


def _panel(name: str, values: Sequence[float], top: float) -> list[str]:
    bottom, room = top + _PANEL - 25, _PANEL - 45
    most = max(values, default=0.0) or 1.0
    step = (WIDTH - _LEFT - 20) / max(len(values) - 1, 1)
    points = " ".join(
        f"{_LEFT + index * step:.1f},{bottom - value / most * room:.1f}"
        for index, value in enumerate(values)
    )
    return [
        f'<text x="{_LEFT}" y="{top + 12}">{escape(name)}</text>',
        *(
            f'<line x1="{_LEFT}" x2="{WIDTH - 20}" y1="{y}" y2="{y}"/>'
            f'<text class="e" x="{_LEFT - 6}" y="{y + 4}">{value:.0f}</text>'
            for y, value in ((bottom, 0.0), (bottom - room, most))
        ),
        f'<text class="e" x="{WIDTH - 20}" y="{bottom + 15}">{len(values) - 1} s</text>',
        f'<polyline points="{points}"/>',
    ]
