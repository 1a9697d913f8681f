"""Drawings of the documentation, made from the code's own tables: phases and their transitions, and layers.

Each is one SVG without blank lines, whose colours are those of the page around it. Where a phase stands is chosen here;
which arrows there are is not.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from kontinue.api.v1alpha1 import Phase
from kontinue_engine.lifecycle.phases import TRANSITIONS, PhaseEvent

ROOT: Final = Path(__file__).resolve().parents[2]
LIVE: Final = tuple(phase for phase in Phase if not phase.is_terminal)

_BOX: Final = (130, 44)
_PLACES: Final[Mapping[Phase, tuple[int, int]]] = {
    Phase.PENDING: (100, 60),
    Phase.EXECUTING: (290, 60),
    Phase.BACKOFF: (100, 150),
    Phase.SUSPENDED: (290, 150),
    Phase.BLOCKED: (100, 240),
    Phase.COMPLETED: (580, 60),
    Phase.FAILED: (580, 130),
    Phase.CANCELED: (580, 200),
    Phase.SKIPPED: (580, 270),
}
_LIVE_BOX: Final = (70, 20, 380, 290)
_ROUTES: Final[Mapping[tuple[Phase, PhaseEvent], tuple[str, int, int]]] = {
    (Phase.SUSPENDED, PhaseEvent.WOKEN): ("M355 150 V110", 362, 134),
    (Phase.FAILED, PhaseEvent.RETRY_REQUESTED): ("M710 152 H730 V350 H30 V82 H94", 330, 343),
    (Phase.CANCELED, PhaseEvent.RETRY_REQUESTED): ("M710 222 H730", 0, 0),
}
"""Of arrows that do not leave all live phases alike: path, and where the label stands; (0, 0) joins another arrow."""


class Arrow(NamedTuple):
    """Phases that an event leaves, and the one that it leads to."""

    sources: tuple[Phase, ...]
    event: PhaseEvent
    target: Phase


def arrows() -> list[Arrow]:
    """Return every transition of the table, those of one event from all live phases to one target as one."""
    found: list[Arrow] = []
    for event in PhaseEvent:
        targets = {phase: to[event] for phase, to in TRANSITIONS.items() if event in to}
        for target in dict.fromkeys(targets.values()):
            sources = tuple(phase for phase in targets if targets[phase] == target)
            if sources == LIVE:
                found.append(Arrow(LIVE, event, target))
            else:
                found.extend(Arrow((source,), event, target) for source in sources)
    return found


def phases() -> str:
    """Return the state machine of an Execution."""
    x, y, width, height = _LIVE_BOX
    lines = [
        _rectangle(x, y, width, height, "group"),
        _text(x + width // 2, y + 18, "lives", "middle"),
    ]
    entered: dict[Phase, str] = {Phase.PENDING: "created"}
    for arrow in arrows():
        if arrow.sources != LIVE:
            path, label_x, label_y = _ROUTES[arrow.sources[0], arrow.event]
            if label_x:
                lines += [f'<path d="{path}"/>', _text(label_x, label_y, arrow.event)]
            else:
                lines.append(f'<path class="line" d="{path}"/>')
        elif arrow.target in LIVE:
            entered[arrow.target] = arrow.event
        else:
            to_x, to_y = _PLACES[arrow.target]
            middle = to_y + _BOX[1] // 2
            lines.append(f'<path d="M{x + width} {middle} H{to_x - 6}"/>')
            lines.append(_text((x + width + to_x) // 2, middle - 6, arrow.event, "middle"))
    entered[Phase.SKIPPED] = "by clients only"
    for phase, (at_x, at_y) in _PLACES.items():
        lines += _node(at_x, at_y, phase, entered.get(phase, ""))
    return _svg(760, 370, "Phases of an Execution", lines)


def transitions() -> str:
    """Return the same as a table: which event leads from where to where."""
    rows = [
        [arrow.event, "any that lives" if arrow.sources == LIVE else ", ".join(arrow.sources), arrow.target]
        for arrow in arrows()
    ]
    return markdown_table(["event", "from", "to"], rows)


def layers(container: str) -> str:
    """Return the layers of a package, as the contract of import-linter names them."""
    names = next(
        contract["layers"]
        for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and contract["containers"] == [container]
    )
    lines = list(_layer_lines([[name.strip() for name in layer.split("|")] for layer in names]))
    return _svg(740, 38 * len(names) + 8, f"Layers of {container}", lines)


def _layer_lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for number, names in enumerate(rows):
        width = (732 - 8 * (len(names) - 1)) // len(names)
        for position, name in enumerate(names):
            x, y = 4 + position * (width + 8), 4 + 38 * number
            yield _rectangle(x, y, width, 30, "node")
            yield _text(x + width // 2, y + 20, name, "middle")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; bars in cells are escaped, except in code, where they mean themselves."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    parts = text.replace("\n", " ").split("`")
    return "`".join(part if position % 2 else part.replace("|", "\\|") for position, part in enumerate(parts))


def _node(x: int, y: int, name: str, note: str) -> list[str]:
    middle = x + _BOX[0] // 2
    return [
        _rectangle(x, y, *_BOX, "node"),
        _text(middle, y + (19 if note else 27), name, "middle", "name"),
        *([_text(middle, y + 35, note, "middle")] if note else []),
    ]


def _rectangle(x: int, y: int, width: int, height: int, kind: str) -> str:
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'


def _text(x: int, y: int, text: str, anchor: str = "start", kind: str = "note") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'


def _svg(width: int, height: int, title: str, lines: Sequence[str]) -> str:
    head = (
        f'<svg class="drawing" viewBox="0 0 {width} {height}" role="img" aria-label="{title}" '
        'xmlns="http://www.w3.org/2000/svg">'
    )
    marker = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="2" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="tip" d="M0 0 L8 4 L0 8 z"/></marker></defs>'
    )
    return "\n".join(["<div class='drawing'>", head, marker, *lines, "</svg>", "</div>"])
