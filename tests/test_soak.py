"""How bench/soak.py judges samples and bench/soak_plot.py draws them; `make soak` runs both."""

from xml.etree import ElementTree

import pytest

from bench.soak import MIB, grown
from bench.soak_plot import lines


def samples(
    rss: float = 0.0, tasks: float = 0.0, descriptors: float = 0.0
) -> list[dict[str, float]]:
    """Make samples of a hundred seconds, in which these values grow by so much per second."""
    return [
        {
            "rss": 80 * MIB + n * rss,
            "tasks": 3000 + n * tasks,
            "descriptors": 1000 + n * descriptors,
        }
        for n in range(100)
    ]


def test_what_stays_as_it_is_has_not_grown() -> None:
    assert grown(samples()) == []


@pytest.mark.parametrize(
    ("leak", "found"),
    [({"rss": MIB}, "rss"), ({"tasks": 10.0}, "tasks"), ({"descriptors": 3.0}, "descriptors")],
)
def test_what_leaks_has_grown(leak: dict[str, float], found: str) -> None:
    (line,) = grown(samples(**leak))
    assert line.startswith(f"{found} grew from ")


def test_what_comes_in_the_warm_up_is_not_judged() -> None:
    early = [sample | {"tasks": 10.0} for sample in samples()[:40]]
    assert grown(early + samples()[40:]) == []


def test_the_plot_is_a_picture_of_each_second() -> None:
    root = ElementTree.fromstring(lines("a <soak>", {"tasks": [1.0, 2.0, 4.0], "none": []}))
    first, second = root.iter("{http://www.w3.org/2000/svg}polyline")
    assert len(first.attrib["points"].split()) == 3
    assert second.attrib["points"] == ""
