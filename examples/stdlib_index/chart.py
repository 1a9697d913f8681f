"""The picture of a run as hand-written SVG: totals, a map of time per package, and which runner did what when. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape

from stdlib_index.metrics import total
from stdlib_index.report import Mark, PackageRow, PartStats, busy_s, by_package, wall_s

WIDTH = 1120
MARGIN = 40
MAP_HEIGHT = 380
LABEL_WIDTH = 100
LANE = 32
MARK_ROW = 16
PALETTE = ("#4263eb", "#0ca678", "#f08c00", "#7048e8", "#1098ad", "#d6336c", "#5c940d", "#9c36b5", "#c2571a", "#2f7d9b")
REST = "#8a97a6"
INK, MUTED, GRID, PANEL, PAPER = "#1f2933", "#6b7885", "#dfe3e8", "#f5f7fa", "#ffffff"
KILL, RESUME = "#e03131", "#2b8a3e"

STYLE = f"""
text {{ font-family: system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif; fill: {INK}; }}
.title {{ font-size: 24px; font-weight: 650; letter-spacing: -0.4px; }}
.sub {{ font-size: 13px; fill: {MUTED}; }}
.note {{ font-size: 11px; fill: {MUTED}; }}
.head {{ font-size: 15px; font-weight: 600; }}
.label {{ font-size: 12px; }}
.big {{ font-size: 22px; font-weight: 650; letter-spacing: -0.3px; }}
.mark {{ font-size: 11px; font-weight: 600; }}
.tile {{ fill: #fff; font-weight: 600; }}
.value {{ fill: #fff; fill-opacity: 0.85; font-size: 11px; }}
"""

Tile = tuple[float, float, float, float]


def draw(parts: Sequence[PartStats], marks: Sequence[Mark], *, python: str) -> str:
    """Return the whole picture."""
    rows = by_package(parts)
    colors = {row.package: PALETTE[number] for number, row in enumerate(rows[: len(PALETTE)])}
    lanes = runner_lanes(parts)
    map_top = 206
    timeline_top = map_top + MAP_HEIGHT + 60
    height = timeline_top + 86 + MARK_ROW * len(marks) + LANE * max(1, len(lanes))
    body = [
        *_header(parts, rows, python),
        *_map(rows, parts, colors, map_top),
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
    """Return a round distance between ticks that gives at most ten of them."""
    step = 0.001
    while True:
        for factor in (1, 2, 5):
            if span / (step * factor) <= 10:
                return step * factor
        step *= 10


def squarify(values: Sequence[float], x: float, y: float, width: float, height: float) -> list[Tile]:
    """Lay out tiles whose areas are as ``values`` (positive, largest first) and that are as square as can be.

    The algorithm of Bruls, Huizing and van Wijk: fill the shorter side with a row as long as that makes its tiles
    squarer, then go on with what is left of the area.
    """
    tiles: list[Tile] = []
    rest = list(values)
    while rest:
        scale = width * height / sum(rest)
        side = min(width, height)
        count = 1
        while count < len(rest) and _worst(rest[: count + 1], scale, side) <= _worst(rest[:count], scale, side):
            count += 1
        row, rest = rest[:count], rest[count:]
        depth = sum(row) * scale / side
        offset = 0.0
        for value in row:
            length = value * scale / depth
            tiles.append((x, y + offset, depth, length) if width >= height else (x + offset, y, length, depth))
            offset += length
        if width >= height:
            x, width = x + depth, width - depth
        else:
            y, height = y + depth, height - depth
        if min(width, height) <= 0:  # nothing is left but rounding
            return tiles + [(x, y, 0.0, 0.0)] * len(rest)
    return tiles


def _worst(row: Sequence[float], scale: float, side: float) -> float:
    """Return the worst ratio of the sides of a row's tiles."""
    depth = sum(row) * scale / side
    lengths = [value * scale / depth for value in (row[0], row[-1])]
    return max(max(depth / length, length / depth) for length in lengths)


def _header(parts: Sequence[PartStats], rows: Sequence[PackageRow], python: str) -> Iterator[str]:
    sums = total(row.counts for row in rows)
    wall, busy = wall_s(parts), busy_s(parts)
    yield _text(MARGIN, 50, f"The standard library of Python {python}", "title")
    yield _text(MARGIN, 73, f"indexed by {len(parts)} Executions on CPU-bound runners of kontinue", "sub")
    tiles = [
        (f"{sums.files:,}", "files"),
        (f"{sums.lines:,}", "lines"),
        (f"{sums.functions:,}", "functions"),
        (f"{sums.classes:,}", "classes"),
        (f"{wall:.1f} s", "from start to end"),
        (f"{busy:.1f} s", f"of work, {busy / wall:.1f} at a time" if wall else "of work"),
    ]
    width = (WIDTH - 2 * MARGIN - 5 * 12) / 6
    for number, (value, caption) in enumerate(tiles):
        x = MARGIN + number * (width + 12)
        yield f'<rect x="{x:.1f}" y="92" width="{width:.1f}" height="62" rx="8" fill="{PANEL}"/>'
        yield _text(x + 14, 120, value, "big")
        yield _text(x + 14, 141, caption, "note")


def _map(rows: Sequence[PackageRow], parts: Sequence[PartStats], colors: dict[str, str], top: int) -> Iterator[str]:
    yield _text(MARGIN, top - 14, "Where time went", "head")
    yield _text(MARGIN + 165, top - 14, "area is time; a package is cut into the parts that were Executions", "note")
    frames = squarify([max(row.took_ms, 0.5) for row in rows], MARGIN, top, WIDTH - 2 * MARGIN, MAP_HEIGHT)
    for row, (x, y, width, height) in zip(rows, frames, strict=True):
        color = colors.get(row.package, REST)
        own = sorted((part for part in parts if part.package == row.package), key=lambda part: -part.took_ms)
        tip = f"{row.package}: {row.took_ms / 1000:.2f} s, {row.counts.files:,} files, {row.counts.lines:,} lines"
        yield f"<g><title>{escape(tip)}</title>"
        for number, tile in enumerate(squarify([max(part.took_ms, 0.5) for part in own], x, y, width, height)):
            opacity = 1.0 if number % 2 else 0.92
            yield _rect(tile, color, f' fill-opacity="{opacity}" stroke="{PAPER}" stroke-opacity="0.35"')
        yield _rect((x, y, width, height), "none", f' stroke="{PAPER}" stroke-width="2"')
        yield from _tile_label(row, x, y, width, height)
        yield "</g>"


def _tile_label(row: PackageRow, x: float, y: float, width: float, height: float) -> Iterator[str]:
    name = row.package if _label_size(row.package, width, height) >= 10 else "…" + row.package.rpartition(".")[2]
    size = _label_size(name, width, height)
    if size < 10:
        return
    yield _text(x + 8, y + size + 5, name, "tile", css=f"font-size:{size:.0f}px")
    value = f"{row.took_ms / 1000:.2f} s"
    if height > size + 28 and width > 60:
        yield _text(x + 8, y + size + 21, f"{value}, {row.counts.lines:,} lines" if width > 160 else value, "value")


def _label_size(name: str, width: float, height: float) -> float:
    """Return the font size at which a name fits a tile: a bold letter is about two thirds of its size wide."""
    return min(30.0, (width - 14) / (0.68 * len(name)), (height - 8) / 1.3)


def _timeline(
    parts: Sequence[PartStats], lanes: Sequence[int], marks: Sequence[Mark], colors: dict[str, str], top: int
) -> Iterator[str]:
    yield _text(MARGIN, top, "Who did what when", "head")
    yield _text(
        MARGIN + 205, top, "a lane is a runner process, a block an Execution, in the colour of its package", "note"
    )
    if not parts:
        return
    start = min([part.started_ms for part in parts] + [mark.at_ms for mark in marks])
    end = max([part.started_ms + part.took_ms for part in parts] + [mark.at_ms for mark in marks])
    span_s = max(0.001, (end - start) / 1000)
    left, right = MARGIN + LABEL_WIDTH, WIDTH - MARGIN
    first_lane = top + 24 + MARK_ROW * len(marks)
    bottom = first_lane + LANE * len(lanes)

    def x_of(at_ms: float) -> float:
        return left + (right - left) * (at_ms - start) / 1000 / span_s

    step = tick_step(span_s)
    for number in range(int(span_s / step) + 1):
        x = x_of(start + number * step * 1000)
        yield f'<line x1="{x:.1f}" y1="{first_lane - 4}" x2="{x:.1f}" y2="{bottom + 4}" stroke="{GRID}"/>'
        yield _text(x, bottom + 19, f"{number * step:g} s", "note", anchor="middle")
    for number, runner in enumerate(lanes):
        y = first_lane + number * LANE
        yield _text(left - 12, y + 20, f"runner {runner}", "label", anchor="end")
        yield f'<rect x="{left}" y="{y + 3}" width="{right - left}" height="{LANE - 6}" rx="4" fill="{PANEL}"/>'
        for part in sorted((part for part in parts if part.runner == runner), key=lambda part: part.started_ms):
            x, width = x_of(part.started_ms), (right - left) * part.took_ms / 1000 / span_s
            tip = f"{part.package} part {part.number}: {part.took_ms} ms, {part.counts.lines:,} lines"
            block = _rect((x, y + 3, max(1.0, width - 0.8), LANE - 6), colors.get(part.package, REST), ' rx="2"')
            yield block.removesuffix("/>") + f' class="block"><title>{escape(tip)}</title></rect>'
    yield from _marks(marks, x_of, first_lane, bottom, (left + right) / 2)


def _marks(
    marks: Sequence[Mark], x_of: Callable[[float], float], top: int, bottom: int, middle: float
) -> Iterator[str]:
    for number, mark in enumerate(sorted(marks, key=lambda mark: mark.at_ms)):
        x, color = x_of(mark.at_ms), RESUME if mark.kind == "resume" else KILL
        anchor, offset = ("end", -6) if x > middle else ("start", 6)
        y = top - 10 - MARK_ROW * (len(marks) - 1 - number)
        yield (
            f'<line x1="{x:.1f}" y1="{y - 9}" x2="{x:.1f}" y2="{bottom + 4}" stroke="{color}" stroke-width="1.5" '
            'stroke-dasharray="4 3"/>'
        )
        yield _text(x + offset, y, mark.label, "mark", anchor=anchor, css=f"fill:{color}")


def _rect(tile: Tile, color: str, more: str = "") -> str:
    x, y, width, height = tile
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{color}"{more}/>'


def _text(x: float, y: float, text: str, style: str, *, anchor: str = "start", css: str = "") -> str:
    own = f' style="{css}"' if css else ""
    at = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}"{at}{own}>{escape(text)}</text>'
