"""Plot the ratios as bars, as an SVG; a library would be too much for a dozen rectangles."""

from html import escape
from typing import Final

from bench.measure import COLUMNS
from bench.summary import GOALS, Row
from bench.svg import WIDTH, page

_LABEL: Final = 200
_BAR: Final = 18
_GAP: Final = 46
_STYLE: Final = (
    ".b{fill:#8aa6c1}.o{fill:#2f6f4f}"
    ".s{stroke:#222;stroke-width:1}.g{stroke:#b03030;stroke-width:1.5;stroke-dasharray:4 3}"
)


def bars(rows: list[Row], title: str) -> str:
    """Return one panel per column: a bar per contestant with its spread, and a dashed goal.

    Rows without all columns are left out. At the scale of the floor, which is one of them, the
    others would all look the same.
    """
    rows = [row for row in rows if len(row.ratio) == len(COLUMNS)]
    panel = len(rows) * _BAR + _GAP
    height = panel * len(COLUMNS) + 40
    panels = (_panel(rows, column, 40 + place * panel) for place, column in enumerate(COLUMNS))
    return page(height, _STYLE, title, panels)


def _panel(rows: list[Row], column: str, top: int) -> str:
    greatest = max(GOALS[column], *(row.ratio[column].greatest for row in rows))
    scale = (WIDTH - _LABEL - 90) / greatest
    what = "p50, ratio (less is better)" if column == "latency" else "messages a CPU second, ratio"
    parts = [f'<text class="t" x="10" y="{top + 14}">{escape(column)}: {what}</text>']
    for place, row in enumerate(rows):
        y = top + 22 + place * _BAR
        figure = row.ratio[column]
        kind = "o" if row.name.startswith("Callboard") else "b"
        end = _LABEL + figure.value * scale
        low, high = _LABEL + figure.least * scale, _LABEL + figure.greatest * scale
        middle = y + 6
        parts.append(
            f'<text x="10" y="{y + 11}">{escape(row.name)}</text>'
            f'<rect class="{kind}" x="{_LABEL}" y="{y}" height="13" '
            f'width="{figure.value * scale:.1f}"/>'
            f'<line class="s" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>'
            f'<text x="{max(end, high) + 6:.1f}" y="{y + 11}">{figure.value:.2f}</text>'
        )
    goal = _LABEL + GOALS[column] * scale
    bottom = top + 20 + len(rows) * _BAR
    parts.append(f'<line class="g" x1="{goal:.1f}" x2="{goal:.1f}" y1="{top + 20}" y2="{bottom}"/>')
    return "".join(parts)
