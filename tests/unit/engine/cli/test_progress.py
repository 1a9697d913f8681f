"""Progress without a terminal: one line per transition."""

import io
from collections.abc import Callable
from datetime import datetime

from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.client.tree_state import build_tree
from kontinue_engine.cli.options import GlobalOptions
from kontinue_engine.cli.progress import LineProgress, LiveProgress, NoProgress, open_progress

Make = Callable[..., Execution]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_each_transition_is_told_once(make_execution: Make, now: datetime) -> None:
    """Seeing the same state again prints nothing."""
    stream = io.StringIO()
    progress = LineProgress(stream, color=False)
    pending = build_tree(make_execution("x"), [])
    done = build_tree(make_execution("x", phase=Phase.COMPLETED, finished_at=now), [])
    for tree in (pending, pending, done, done):
        progress.show(tree)
    progress.close()
    assert stream.getvalue().splitlines() == ["· Pending   x (build)", "✓ Completed x (build) 1m00s"]


def test_a_terminal_gets_a_tree_in_place(make_execution: Make) -> None:
    """The last state stays on the screen."""
    stream = Terminal()
    progress = open_progress(GlobalOptions(color=False), stream)
    assert isinstance(progress, LiveProgress)
    progress.show(build_tree(make_execution("x", phase=Phase.EXECUTING), []))
    progress.close()
    assert "▸ x (build)  Executing" in stream.getvalue()


def test_quiet_shows_nothing() -> None:
    """Not even on a terminal; a pipe gets lines."""
    assert isinstance(open_progress(GlobalOptions(quiet=True), Terminal()), NoProgress)
    assert isinstance(open_progress(GlobalOptions(), io.StringIO()), LineProgress)
