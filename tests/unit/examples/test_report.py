"""The report of the example."""

from stdlib_index.metrics import Counts
from stdlib_index.report import Mark, PartStats, busy_s, by_package, digest, markdown, wall_s

PARTS = [
    PartStats("json", 1, Counts(files=2, lines=10, functions=3, documented=3), 11, 1_000, 500),
    PartStats("test", 2, Counts(files=1, lines=20, max_complexity=4, most_complex="t:f"), 12, 1_200, 900),
    PartStats("test", 1, Counts(files=4, lines=40, classes=1), 11, 1_600, 300),
]


def test_parts_of_a_package_are_added_up() -> None:
    """The most expensive package comes first."""
    rows = by_package(PARTS)
    assert [(row.package, row.took_ms, row.counts.files) for row in rows] == [("test", 1200, 5), ("json", 500, 2)]


def test_the_digest_depends_on_counts_only() -> None:
    """Neither on order, time nor runner; but on every count."""
    slower = [PartStats(part.package, part.number, part.counts, 99, 7, part.took_ms * 2) for part in reversed(PARTS)]
    assert digest(slower) == digest(PARTS)
    changed = [*PARTS[1:], PartStats("json", 1, Counts(files=2, lines=11, functions=3, documented=3), 11, 1_000, 500)]
    assert digest(changed) != digest(PARTS)


def test_times_are_of_the_whole_run() -> None:
    """Wall time from first start to last end, and the work of all runners."""
    assert wall_s(PARTS) == 1.1
    assert busy_s(PARTS) == 1.7
    assert wall_s([]) == 0


def test_the_report_names_what_happened() -> None:
    """Totals, marks in seconds since the start, and a row per package."""
    text = markdown(PARTS, [Mark(1_500, "kill", "runner 12 killed")], python="3.13.1", chart="c.svg")
    assert "7 files, 70 lines, 3 functions, 1 classes" in text
    assert "- 0.5 s: runner 12 killed" in text
    assert "![Where time went](c.svg)" in text
    assert text.count("\n| ") == 3
    assert digest(PARTS) in text


def test_an_empty_report_is_a_report() -> None:
    """Nothing found is no crash."""
    assert markdown([], [], python="3.13", chart="c.svg").startswith("# The standard library")
