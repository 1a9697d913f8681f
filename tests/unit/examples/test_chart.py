"""The picture of the example."""

from xml.etree import ElementTree

import pytest
from stdlib_index.chart import draw, runner_lanes, squarify, tick_step
from stdlib_index.metrics import Counts
from stdlib_index.report import Mark, PartStats

PARTS = [
    PartStats(f"package{number % 30}", number // 30 + 1, Counts(lines=100), 11 + number % 2, 1000 + 50 * number, 90)
    for number in range(60)
]


def test_the_picture_is_valid_and_shows_everything() -> None:
    """Each part once in the timeline, each mark by its label, hostile names escaped."""
    parts = [*PARTS, PartStats("<evil> & co", 1, Counts(), 13, 3000, 800)]
    svg = draw(parts, [Mark(1500, "kill", "runner 12 killed"), Mark(1600, "resume", "resumed")], python="3.13")
    root = ElementTree.fromstring(svg)
    texts = [element.text for element in root.iter() if element.text]
    assert "runner 12 killed" in texts
    assert "runner 13" in texts
    assert any("<evil> & co" in text for text in texts)
    blocks = [element for element in root.iter() if element.get("class") == "block"]
    assert len(blocks) == len(parts)


def test_nothing_to_draw_is_no_crash() -> None:
    """An empty library gives an empty picture."""
    ElementTree.fromstring(draw([], [], python="3.13"))


def test_lanes_are_in_the_order_of_their_start() -> None:
    """A runner that replaced a killed one comes below."""
    parts = [PartStats("a", 1, Counts(), 50, 2000, 1), PartStats("a", 2, Counts(), 9, 1000, 1)]
    assert runner_lanes(parts) == [9, 50]


@pytest.mark.parametrize(("span", "step"), [(10, 1), (12, 2), (0.35, 0.05), (99, 10)])
def test_ticks_are_round(span: float, step: float) -> None:
    """At most ten of them."""
    assert tick_step(span) == pytest.approx(step)


def test_a_treemap_covers_its_area_in_proportion() -> None:
    """No tile is lost or leaves the frame, and areas are as the values."""
    values = [60.0, 20.0, 10.0, 5.0, 4.0, 1.0]
    tiles = squarify(values, 10, 20, 300, 100)
    assert len(tiles) == len(values)
    for value, (x, y, width, height) in zip(values, tiles, strict=True):
        assert width * height == pytest.approx(300 * 100 * value / 100)
        assert x >= 10 - 1e-6
        assert y >= 20 - 1e-6
        assert x + width <= 310 + 1e-6
        assert y + height <= 120 + 1e-6
    assert squarify([], 0, 0, 10, 10) == []
