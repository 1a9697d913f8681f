"""Internal. Shows a tree while it changes: redrawn in place on a terminal, else one line per transition.

The drawing itself is ``execution_tree``; this module owns the stream. rich is loaded only for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Protocol, TextIO

from kontinue.api.v1alpha1 import Phase
from kontinue.client.tree import ExecutionTree
from kontinue_engine.cli.execution_tree import draw_tree, duration_of, executions_of, format_line, message_of
from kontinue_engine.cli.options import GlobalOptions, is_terminal
from kontinue_engine.cli.text import GLYPHS, format_duration, paint_phase


class Progress(Protocol):
    """Where a changing tree is shown."""

    def show(self, tree: ExecutionTree) -> None:
        """Show the tree as it is now."""
        ...

    def say(self, text: str) -> None:
        """Print a line that stays."""
        ...

    def close(self) -> None:
        """Leave the last state on the screen."""
        ...


class NoProgress:
    """Shows no tree; says what must be said on ``stream``, if there is one."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def show(self, tree: ExecutionTree) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Print a line, if there is a stream."""
        if self._stream is not None:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to leave."""


class LineProgress:
    """Prints one line per transition of any Execution of the tree."""

    def __init__(self, stream: TextIO, *, color: bool) -> None:
        self._stream = stream
        self._color = color
        self._phases: dict[str, Phase] = {}

    def show(self, tree: ExecutionTree) -> None:
        """Print what has changed since the last call."""
        for line in transition_lines(tree, self._phases, datetime.now(UTC), color=self._color):
            print(line, file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Everything is printed already."""


class LiveProgress:
    """Redraws the tree in place."""

    def __init__(self, stream: TextIO, *, color: bool) -> None:
        from rich.console import Console  # only a terminal needs rich: it would double the start time of a pipe
        from rich.live import Live
        from rich.text import Text

        self._parse = Text.from_ansi
        self._color = color
        console = Console(file=stream, no_color=not color, highlight=False)
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="ellipsis")
        self._live.start()

    def show(self, tree: ExecutionTree) -> None:
        """Draw the tree over the one before."""
        lines = draw_tree(tree, datetime.now(UTC))
        text = self._parse("\n".join(format_line(line, color=self._color) for line in lines))
        text.no_wrap = True
        text.overflow = "ellipsis"
        self._live.update(text, refresh=True)

    def say(self, text: str) -> None:
        """Print a line above the tree."""
        self._live.console.print(text, markup=False)

    def close(self) -> None:
        """Leave the last drawing on the screen."""
        self._live.stop()


def open_progress(options: GlobalOptions, stream: TextIO) -> Progress:
    """Return what fits the stream and the options."""
    if options.quiet:
        return NoProgress()
    color = options.colors_on(stream)
    return LiveProgress(stream, color=color) if is_terminal(stream) else LineProgress(stream, color=color)


def transition_lines(tree: ExecutionTree, phases: dict[str, Phase], now: datetime, *, color: bool) -> Iterator[str]:
    """Yield a line for each Execution whose phase differs from ``phases``, and bring ``phases`` up to date.

    What began comes parents first, then what ended, children first.
    """
    changed = [execution for execution in executions_of(tree) if phases.get(execution.metadata.uid) != execution.phase]
    ended = [execution for execution in reversed(changed) if execution.phase.is_terminal]
    for execution in (*(execution for execution in changed if not execution.phase.is_terminal), *ended):
        phases[execution.metadata.uid] = execution.phase
        duration = duration_of(execution, now) if execution.phase.is_terminal else None
        parts = [
            paint_phase(f"{GLYPHS[execution.phase]} {execution.phase.value:<9}", execution.phase, color=color),
            execution.metadata.name,
            f"({execution.spec.function})",
            format_duration(duration) if duration is not None else "",
            message_of(execution, now),
        ]
        yield " ".join(part for part in parts if part)
