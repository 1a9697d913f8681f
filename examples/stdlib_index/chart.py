"""The picture of a run as hand-written SVG: totals, time per package, and which runner did what when. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from stdlib_index.metrics import total
from stdlib_index.report import Mark, PackageRow, PartStats, busy_s, by_package, wall_s

WIDTH = 1120
MARGIN = 40
LABEL_WIDTH = 170
ROW = 22
LANE = 30
SHOWN_PACKAGES = 18
PALETTE = ("#4263eb", "#0ca678", "#f08c00", "#7048e8", "#1098ad", "#e64980", "#74b816", "#ae3ec9")
REST_COLOR = "#adb5bd"
INK, MUTED, GRID, PAPER = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff"
KILL, RESUME = "#e03131", "#2f9e44"

STYLE = f"""
text {{ font-family: system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif; fill: {INK}; }}
.title {{ font-size: 24px; font-weight: 650; letter-spacing: -0.4px; }}
.sub, .axis, .note {{ fill: {MUTED}; }}
.sub {{ font-size: 13px; }} .axis {{ font-size: 11px; }} .note {{ font-size: 11px; }}
.head {{ font-size: 14px; font-weight: 600; }}
.label {{ font-size: 12px; }}
.big {{ font-size: 22px; font-weight: 650; letter-spacing: -0.3px; }}
.mark {{ font-size: 11px; font-weight: 600; }}
"""


def draw(parts: Sequence[PartStats], marks: Sequence[Mark], *, python: str) -> str:
    """Return the whole picture."""
    rows = by_package(parts)
    colors = {row.package: PALETTE[number % len(PALETTE)] for number, row in enumerate(rows[:8])}
    lanes = runner_lanes(parts)
    bars_top = 190
    shown = rows[:SHOWN_PACKAGES]
    timeline_top = bars_top + 40 + ROW * (len(shown) + (1 if len(rows) > len(shown) else 0)) + 40
    height = timeline_top + 70 + LANE * max(1, len(lanes)) + 60
    body = [
        *_header(parts, rows, python),
        *_bars(rows, colors, bars_top),
        *_timeline(parts, lanes, marks, colors, timeline_top),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="Where time went while indexing the standard library">\n<style>{STYLE}</style>\n'
        f'<rect width="100%" height="100%" rx="12" fill="{PAPER}"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def runner_lanes(parts: Sequence[PartStats]) -> list[int]:
    """Return the runners in the order in which they began: one lane of the timeline each."""
    first: dict[int, int] = {}
    for part in parts:
        first[part.runner] = min(part.started_ms, first.get(part.runner, part.started_ms))
    return sorted(first, key=lambda runner: (first[runner], runner))


def tick_step(span: float) -> float:
    """Return a round distance between ticks that gives four to ten of them."""
    step = 0.001
    while True:
        for factor in (1, 2, 5):
            if span / (step * factor) <= 10:
                return step * factor
        step *= 10


def _header(parts: Sequence[PartStats], rows: Sequence[PackageRow], python: str) -> Iterator[str]:
    sums = total(row.counts for row in rows)
    wall, busy = wall_s(parts), busy_s(parts)
    yield _text(MARGIN, 50, f"The standard library of Python {python}, indexed", "title")
    yield _text(
        MARGIN,
        73,
        f"{len(parts)} Executions, one for each package or part of a large one, on CPU-bound runners of kontinue",
        "sub",
    )
    tiles = [
        (f"{sums.files:,}", "files"),
        (f"{sums.lines:,}", "lines"),
        (f"{sums.functions:,}", "functions"),
        (f"{sums.classes:,}", "classes"),
        (f"{wall:.1f} s", "wall time"),
        (f"{busy:.1f} s", f"of work, {busy / wall:.1f} at once" if wall else "of work"),
    ]
    width = (WIDTH - 2 * MARGIN - 5 * 12) / 6
    for number, (value, caption) in enumerate(tiles):
        x = MARGIN + number * (width + 12)
        yield f'<rect x="{x:.1f}" y="92" width="{width:.1f}" height="62" rx="8" fill="#f5f7fa"/>'
        yield _text(x + 14, 120, value, "big")
        yield _text(x + 14, 141, caption, "note")


def _bars(rows: Sequence[PackageRow], colors: dict[str, str], top: int) -> Iterator[str]:
    yield _text(MARGIN, top, "Where time went", "head")
    yield _text(MARGIN + 130, top, "per package, all its parts together", "note")
    shown, hidden = rows[:SHOWN_PACKAGES], rows[SHOWN_PACKAGES:]
    bars = [(row.package, row.took_ms, row.counts.lines, colors.get(row.package, REST_COLOR)) for row in shown]
    if hidden:
        took, lines = sum(row.took_ms for row in hidden), sum(row.counts.lines for row in hidden)
        bars.append((f"{len(hidden)} others", took, lines, REST_COLOR))
    left, right = MARGIN + LABEL_WIDTH, WIDTH - MARGIN - 150
    longest = max((took for _, took, _, _ in bars), default=1) or 1
    y = top + 20
    for name, took, lines, color in bars:
        width = max(2.0, (right - left) * took / longest)
        yield _text(left - 10, y + 14, name, "label", anchor="end")
        yield f'<rect x="{left}" y="{y + 3}" width="{width:.1f}" height="{ROW - 7}" rx="3" fill="{color}"/>'
        yield _text(left + width + 8, y + 14, f"{took / 1000:.2f} s, {lines:,} lines", "note")
        y += ROW


def _timeline(
    parts: Sequence[PartStats], lanes: Sequence[int], marks: Sequence[Mark], colors: dict[str, str], top: int
) -> Iterator[str]:
    yield _text(MARGIN, top, "Who did what when", "head")
    yield _text(MARGIN + 145, top, "one lane per runner process, one block per Execution", "note")
    if not parts:
        return
    start = min([part.started_ms for part in parts] + [mark.at_ms for mark in marks])
    end = max([part.started_ms + part.took_ms for part in parts] + [mark.at_ms for mark in marks])
    span_s = max(0.001, (end - start) / 1000)
    left, right = MARGIN + LABEL_WIDTH, WIDTH - MARGIN
    first_lane = top + 40
    bottom = first_lane + LANE * len(lanes)

    def x_of(at_ms: float) -> float:
        return left + (right - left) * (at_ms - start) / 1000 / span_s

    step = tick_step(span_s)
    for number in range(int(span_s / step) + 1):
        x = x_of(start + number * step * 1000)
        yield f'<line x1="{x:.1f}" y1="{first_lane - 6}" x2="{x:.1f}" y2="{bottom}" stroke="{GRID}"/>'
        yield _text(x, bottom + 17, f"{number * step:g} s", "axis", anchor="middle")
    for number, runner in enumerate(lanes):
        y = first_lane + number * LANE
        yield _text(left - 10, y + 17, f"runner {runner}", "label", anchor="end")
        yield f'<rect x="{left}" y="{y + 3}" width="{right - left}" height="{LANE - 8}" rx="4" fill="#f5f7fa"/>'
        for part in sorted((part for part in parts if part.runner == runner), key=lambda part: part.started_ms):
            x, width = x_of(part.started_ms), (right - left) * part.took_ms / 1000 / span_s
            color = colors.get(part.package, REST_COLOR)
            yield (
                f'<rect x="{x:.1f}" y="{y + 3}" width="{max(1.0, width - 0.6):.1f}" height="{LANE - 8}" rx="2" '
                f'fill="{color}"><title>{escape(part.package)} part {part.number}: {part.took_ms} ms, '
                f"{part.counts.lines:,} lines</title></rect>"
            )
    for number, mark in enumerate(sorted(marks, key=lambda mark: mark.at_ms)):
        x, color = x_of(mark.at_ms), RESUME if mark.kind == "resume" else KILL
        anchor, offset = ("end", -5) if x > (left + right) / 2 else ("start", 5)
        y = first_lane - 10 if number % 2 else first_lane - 22
        yield (
            f'<line x1="{x:.1f}" y1="{y - 8}" x2="{x:.1f}" y2="{bottom}" stroke="{color}" stroke-width="1.5" '
            'stroke-dasharray="4 3"/>'
        )
        yield _text(x + offset, y, mark.label, "mark", anchor=anchor, fill=color)
    yield _text(
        MARGIN, bottom + 42, "Colours as above; grey: all other packages. Point at a block for its name.", "note"
    )


def _text(x: float, y: float, text: str, style: str, *, anchor: str = "start", fill: str = "") -> str:
    color = f' style="fill:{fill}"' if fill else ""
    at = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}"{at}{color}>{escape(text)}</text>'
