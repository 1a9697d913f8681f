"""Internal. A tree of Executions (``kontinue.client.tree``) as lines of text. Pure.

Used by ``kontinue tree`` and by the live progress of ``kontinue execute``. Siblings of one function, Suspensions and
Jobs are folded into a line of counts when there are many; those that run or went wrong are still shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from kontinue.api import labels
from kontinue.api.meta import parent_of
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.client.tree import ExecutionTree, ExecutionTreeNode, NodeKind
from kontinue_engine.cli.text import GLYPHS, format_age, format_due, format_duration, paint_phase, plural, shorten
from kontinue_engine.lifecycle.conditions import PROGRESSING
from kontinue_engine.lifecycle.retrying import TIMER

FOLD_FROM: Final = 8
"""As many siblings of one function are shown one by one; more are folded. A judgement: they still fit a screen."""
MAX_SHOWN_OF_FOLD: Final = 4
"""Running or broken siblings shown below a folded line."""
MAX_DEPTH: Final = 50
"""Levels drawn; what is deeper is counted. A judgement: the branches alone then fill 150 columns."""
_MAX_MESSAGE: Final = 100


class TreeLine(msgspec.Struct, frozen=True):
    """One line: of a node, or of a fold of siblings (then ``phase`` is the most telling one of theirs)."""

    branch: str
    name: str
    phase: Phase
    detail: str


def parent_name(execution: Execution) -> str:
    """Return the name of the Execution that started this one; empty for a root."""
    parent = parent_of(execution.metadata.owner_references)
    return parent.name if parent is not None else ""


def duration_of(execution: Execution, now: datetime) -> timedelta | None:
    """Return how long it ran, or has been running; None before its start."""
    started = execution.status.started_at
    if started is None:
        started = execution.metadata.creation_timestamp if execution.status.finished_at else None
    return None if started is None else max(timedelta(), (execution.status.finished_at or now) - started)


def waiting_text(execution: Execution, now: datetime) -> str:
    """Return what the Execution waits for, in one line; empty when it waits for nothing.

    That is the first thing, and until when, if all else is a timer: most likely that of a timeout.
    """
    parts, items = [], execution.status.waiting_for
    for item in items:
        what = " ".join(part for part in (item.kind, item.name) if part)
        if item.until is not None:
            what += f" due {format_due(item.until, now)}" if item.until <= now else f" {format_due(item.until, now)}"
        parts.append(f"{what}: {item.message}" if item.message else what)
    if len(items) == 2 and items[1].kind == TIMER:
        return ", ".join(parts)
    return f"{parts[0]} and {len(parts) - 1} more" if len(parts) > 1 else "".join(parts)


def awaited_text(execution: Execution, now: datetime) -> str:
    """Return what it waits for as ``waiting_text`` does, and also where no status says so: for a worker to take it."""
    group = execution.metadata.labels.get(labels.WORKER_GROUP, "")
    is_untold = execution.phase is Phase.PENDING and not execution.status.waiting_for
    if group and (is_untold or execution.is_retry_requested):
        return f"Worker of group {group}" + (", for a retry" if execution.is_retry_requested else "")
    return waiting_text(execution, now)


def progress_text(execution: Execution, now: datetime) -> str:
    """Return after which step its code is, and since when; empty unless it runs."""
    if execution.phase is not Phase.EXECUTING:
        return ""
    for condition in execution.status.conditions:
        if condition.type == PROGRESSING:
            return f"{condition.message}, {format_age(condition.last_transition_time, now)} ago"
    return ""


def message_of(execution: Execution, now: datetime) -> str:
    """Return the one line that says why the Execution is where it is."""
    status = execution.status
    if status.phase is Phase.COMPLETED:
        return ""
    reason = ": ".join(part for part in (status.reason, status.message) if part)
    if status.phase is Phase.BACKOFF:
        reason = "; ".join(part for part in (waiting_text(execution, now), reason) if part)
    return shorten(reason or waiting_text(execution, now) or progress_text(execution, now), _MAX_MESSAGE)


def executions_of(tree: ExecutionTree) -> Iterator[Execution]:
    """Yield every Execution of the tree, parents first."""
    for _, node in tree.walk():
        if node.execution is not None:
            yield node.execution


def draw_tree(tree: ExecutionTree, now: datetime) -> list[TreeLine]:
    """Return the lines of the tree, the root first."""
    return [_line(tree.root, "", now), *_draw_below(tree.root, "", now, MAX_DEPTH)]


def format_line(line: TreeLine, *, color: bool) -> str:
    """Return a line as text."""
    glyph = paint_phase(GLYPHS[line.phase], line.phase, color=color)
    return f"{line.branch}{glyph} {line.name}  {line.detail}".rstrip()


def _draw_below(node: ExecutionTreeNode, prefix: str, now: datetime, levels: int) -> Iterator[TreeLine]:
    if not levels and any(child.execution is not None for child in node.children):
        yield _depth_line(node, prefix + "└─ ")
        return
    rows = _rows(node.children)
    for number, row in enumerate(rows):
        last = number == len(rows) - 1
        branch, deeper = (prefix + "└─ ", prefix + "   ") if last else (prefix + "├─ ", prefix + "│  ")
        if isinstance(row, ExecutionTreeNode):
            yield _line(row, branch, now)
            yield from _draw_below(row, deeper, now, levels - 1)
        else:
            yield _fold_line(row, branch)
            shown = _telling(row)
            for position, child in enumerate(shown):
                child_branch = deeper + ("└─ " if position == len(shown) - 1 else "├─ ")
                yield _line(child, child_branch, now, with_function=False)


def _rows(children: Sequence[ExecutionTreeNode]) -> list[ExecutionTreeNode | list[ExecutionTreeNode]]:
    """Return nodes to draw one by one, and lists of siblings to fold."""
    by_title: dict[str, list[ExecutionTreeNode]] = {}
    for child in children:
        by_title.setdefault(_title_of(child), []).append(child)
    rows: list[ExecutionTreeNode | list[ExecutionTreeNode]] = []
    for child in children:
        siblings = by_title[_title_of(child)]
        if child.kind is NodeKind.ATTEMPT or len(siblings) <= FOLD_FROM:
            rows.append(child)
        elif siblings[0] is child:
            rows.append(siblings)
    return rows


def _title_of(node: ExecutionTreeNode) -> str:
    """Return what stands in brackets after a name: the function of an Execution, else what it is."""
    return node.execution.spec.function if node.execution is not None else node.kind.value


def _depth_line(node: ExecutionTreeNode, branch: str) -> TreeLine:
    below = [inner for _, inner in node.walk() if inner.execution is not None and inner is not node]
    phases = Counter(Phase(inner.phase) for inner in below)
    name = f"... {plural(len(below), 'Execution')} in deeper levels not shown"
    return TreeLine(branch, name, _fold_phase(phases), f"kontinue tree {node.name}")


def _fold_line(siblings: Sequence[ExecutionTreeNode], branch: str) -> TreeLine:
    phases = Counter(Phase(node.phase) for node in siblings)
    done = phases[Phase.COMPLETED] + phases[Phase.SKIPPED]
    others = [
        f"{phases[phase]} {phase.lower()}"
        for phase in Phase
        if phases[phase] and phase not in {Phase.COMPLETED, Phase.SKIPPED, Phase.PENDING}
    ]
    name = f"{_title_of(siblings[0])} {done}/{len(siblings)}"
    return TreeLine(branch, name, _fold_phase(phases), ", ".join(others))


def _fold_phase(phases: Counter[Phase]) -> Phase:
    for phase in (Phase.FAILED, Phase.BLOCKED, Phase.EXECUTING, Phase.BACKOFF, Phase.SUSPENDED, Phase.PENDING):
        if phases[phase]:
            return phase
    return Phase.CANCELED if phases[Phase.CANCELED] else Phase.COMPLETED


def _telling(siblings: Sequence[ExecutionTreeNode]) -> list[ExecutionTreeNode]:
    order = [Phase.FAILED, Phase.BLOCKED, Phase.BACKOFF, Phase.EXECUTING]
    telling = [node for node in siblings if node.phase in order]
    return sorted(telling, key=lambda node: order.index(Phase(node.phase)))[:MAX_SHOWN_OF_FOLD]


def _line(node: ExecutionTreeNode, branch: str, now: datetime, *, with_function: bool = True) -> TreeLine:
    execution = node.execution
    if execution is None:
        return _other_line(node, branch, now)
    duration = duration_of(execution, now)
    parts = [execution.phase.value, format_duration(duration) if duration is not None else ""]
    if execution.status.attempt_count > 1:
        parts.append(f"attempt {execution.status.attempt_count}")
    if execution.status.resumptions:
        parts.append(f"resumed {execution.status.resumptions}x")
    parts.append(message_of(execution, now))
    name = execution.metadata.name + (f" ({execution.spec.function})" if with_function else "")
    return TreeLine(branch, name, execution.phase, "  ".join(part for part in parts if part))


def _other_line(node: ExecutionTreeNode, branch: str, now: datetime) -> TreeLine:
    """Return the line of what is no Execution: an earlier attempt, a Suspension, a Job."""
    message = shorten(node.message, _MAX_MESSAGE)
    if node.kind is NodeKind.ATTEMPT:
        detail = ": ".join(part for part in (node.phase, message) if part)
        return TreeLine(branch, f"attempt {node.attempt_number}", Phase(node.phase or Phase.FAILED), detail)
    parts = [node.phase, duration_text(node, now), due_text(node, now), message]
    name = f"{node.name} ({node.kind.value})"
    return TreeLine(branch, name, Phase(node.phase), "  ".join(part for part in parts if part))


def duration_text(node: ExecutionTreeNode, now: datetime) -> str:
    """Return how long a node has taken so far; empty before its start."""
    if node.started_at is None:
        return ""
    return format_duration((node.finished_at or now) - node.started_at)


def due_text(node: ExecutionTreeNode, now: datetime) -> str:
    """Return when an open Suspension ends by itself; empty for anything else."""
    suspension = node.suspension
    if suspension is None or not suspension.is_open or suspension.spec.resume_at is None:
        return ""
    return f"due {format_due(suspension.spec.resume_at, now)}"
