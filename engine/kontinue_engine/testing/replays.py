"""``assert_replays``: does the code under test fit what was recorded elsewhere? What `kontinue replay` does, in a test.

The code is imported and replayed in a process of its own (``kontinue_engine.replaying``), as a worker would do it: what
the test has patched does not count.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from kontinue import App
from kontinue.api.v1alpha1 import Execution
from kontinue_engine.replaying.histories import History, HistoryError, history_of, read_histories
from kontinue_engine.replaying.process import DEFAULT_TIMEOUT_S, ReplayProcess
from kontinue_engine.replaying.verdicts import Finding, Verdict, describe

_SUFFIXES: Final = frozenset({".json", ".yaml", ".yml"})


def assert_replays(
    app: App | str,
    *histories: Execution | str | os.PathLike[str],
    folder: str | os.PathLike[str] = ".",
    timeout: timedelta = timedelta(seconds=DEFAULT_TIMEOUT_S),
) -> None:
    """Check that the functions of an app ask for what is recorded. Nothing is started, and nothing is written.

    Args:
        app: the App, one of an importable module; or ``module:attribute``.
        histories: files that `kubectl get executions,memopages -o yaml` (or json) wrote, folders of such files, or
            Executions.
        folder: where relative paths begin.
        timeout: for the replay of one Execution.

    Raises:
        ValueError: there is nothing to check.
        AssertionError: one does not fit; names the step, with recorded and requested side by side.
        HistoryError: a file holds no Execution.
        AppLoadFailedError: the app does not import.
    """
    if not histories:
        raise ValueError("no histories were given: a file, a folder, or an Execution")
    name = app if isinstance(app, str) else _name_of(app)
    path = [os.path.realpath(entry) for entry in sys.path]
    wrong: list[str] = []
    checked = 0
    with ReplayProcess(name, os.path.realpath(folder), timeout_s=timeout.total_seconds(), path=path) as process:
        build = process.load().build
        for history in _read(histories, Path(folder)):
            checked += 1
            verdict = Verdict(finding=Finding.UNCHECKED, message=history.problem)
            if not history.problem:
                verdict = process.check(history.execution)
            if verdict.finding is not Finding.REPLAYS:
                wrong.append(describe(history.execution.metadata.name, verdict, build=build))
    if wrong:
        raise AssertionError("\n".join([f"{len(wrong)} of {checked} histories do not fit {name}", *wrong]))


def _name_of(app: App) -> str:
    for module_name, module in list(sys.modules.items()):
        attributes = getattr(module, "__dict__", {}) if module_name != "__main__" else {}
        for attribute, value in list(attributes.items()):
            if value is app and any(function.fn.__module__ == module_name for function in app.functions.values()):
                return f"{module_name}:{attribute}"
    raise HistoryError(f"the app of group {app.group!r} stands in no module by itself: name it, 'module:attribute'")


def _read(histories: tuple[Execution | str | os.PathLike[str], ...], folder: Path) -> Iterator[History]:
    files: list[Path] = []
    for history in histories:
        if isinstance(history, Execution):
            yield history_of(history)
        else:
            files += _files(folder / history)
    if files:
        yield from read_histories([(str(file), file.read_text(encoding="utf-8")) for file in files])


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    if not files:
        raise HistoryError(f"{path} has no files that end in {', '.join(sorted(_SUFFIXES))}")
    return files
