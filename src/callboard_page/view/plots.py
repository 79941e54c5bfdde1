"""Small plots: a line over the last few minutes."""

from collections.abc import Sequence
from typing import Final

from callboard_page.board.series import MOST_POINTS, Series
from callboard_page.nodes import Element, h

WIDTH: Final = 150
HEIGHT: Final = 32


def plot_view(series: Series) -> Element:
    """Return a number with its newest value and how it came to it."""
    shown = _number(series.newest)
    highest = max(series.values, default=0.0)
    return h(
        "figure",
        h("figcaption", series.name),
        h("strong", shown, h("span", series.unit)),
        h(
            "svg",
            h("polyline", points=_points(series.values)),
            viewBox=f"0 0 {WIDTH} {HEIGHT}",
            preserveAspectRatio="none",
            role="img",
            aria_label=f"{series.name}: {shown}{series.unit} now, {_number(highest)} at most",
        ),
        class_="plot",
        key=series.name,
    )


def _points(values: Sequence[float]) -> str:
    """Return the line's points; the newest value is at the right edge."""
    if len(values) < 2:
        return ""
    highest = max(values) or 1.0
    step = WIDTH / (MOST_POINTS - 1)
    start = WIDTH - step * (len(values) - 1)
    return " ".join(
        f"{start + step * place:.1f},{HEIGHT - 2 - value / highest * (HEIGHT - 4):.1f}"
        for place, value in enumerate(values)
    )


def _number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}"
