"""docs/tutorial.md as its reader does it: files grow, ``kontinue dev`` runs, commands print what stands there."""

from __future__ import annotations

import functools
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Kontinue = Any  # classes are in conftest, which importlib mode does not let us import
Dev = Any
WaitUntil = Callable[..., None]

PAGE = Path(__file__).parents[3] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FUNCTION = re.compile(r"^@app\.function\n(?:async )?def (\w+)", re.MULTILINE)
LOOKS = {"get", "suspensions", "tree"}
"""Verbs that change nothing: what they are to print may take a moment to come true."""


DEADLINE_S = 100.0


def blocks() -> list[tuple[str, str]]:
    return BLOCK.findall(PAGE.read_text())


def commands(block: str) -> Iterator[tuple[list[str], str]]:
    """Yield each command of a console block with what it is to print."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield shlex.split(command), output


def is_as_printed(expected: str, printed: str) -> bool:
    """Whether a text is what a page shows: ``...`` stands for anything, and columns may be wider."""
    words = [re.escape(word).replace(re.escape("..."), ".*") for word in expected.split()]
    return re.fullmatch(r"\s*" + r"\s+".join(words) + r"\s*", printed, re.DOTALL) is not None


class Reader:
    """Does what the page says."""

    def __init__(self, kontinue: Kontinue, start_dev: Callable[..., Dev], wait_until: WaitUntil) -> None:
        self.kontinue, self.start_dev = kontinue, start_dev
        self.wait_until = functools.partial(wait_until, deadline_s=DEADLINE_S)
        self.dev: Dev = None

    def write(self, code: str) -> None:
        """Append to a file as an editor does, at once, and wait until new functions can be called."""
        name = re.match(r"# (\w+\.py)\n", code)[1]  # type: ignore[index]
        file = self.kontinue.folder / name
        text = (file.read_text() if file.exists() else "") + code
        (self.kontinue.folder / "new").write_text(text)
        (self.kontinue.folder / "new").replace(file)
        if name != "app.py":
            return
        if self.dev is None:
            self.dev = self.start_dev()
            self.dev.ready()
        expected = {f"functions.kontinue.cloud/{found.replace('_', '-')}" for found in FUNCTION.findall(text)}
        self.wait_until(
            "new functions", lambda: expected <= set(self.kontinue("functions", "-o", "name").stdout.split())
        )

    def run(self, words: list[str], expected: str) -> None:
        if words[0] == "kill":
            self.kill()
        elif words[0] == "kontinue" and words[1] in LOOKS:
            shown: list[str] = []

            def is_so() -> bool:
                shown[:] = [self.output(words)]
                return is_as_printed(expected, shown[0])

            try:
                self.wait_until(shlex.join(words), is_so)
            except AssertionError as error:
                error.add_note(f"expected:\n{expected}\nprinted:\n{shown[0]}")
                raise
        else:
            printed = self.output(words)
            assert is_as_printed(expected, printed), f"{shlex.join(words)}\nexpected:\n{expected}\nprinted:\n{printed}"

    def output(self, words: list[str]) -> str:
        """Run a command, and return what the page shows of it: errors, or else stdout."""
        if words[0] == "kontinue":
            done = self.kontinue(*words[1:])
            errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
            return "\n".join(errors) or str(done.stdout)
        if words[0] == "pytest":
            plugins = ["-p", "kontinue_engine.pytest_plugin", "-p", "no:cacheprovider"]
            words = [sys.executable, "-m", "pytest", *words[1:], *plugins]
        done = subprocess.run(
            words,
            cwd=self.kontinue.folder,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            stdout=subprocess.PIPE,
            text=True,
            timeout=100,
            check=False,
        )
        return done.stdout

    def kill(self) -> None:
        before = self.dev.ready()
        for pid in (before.workers[0].pid, before.server_pid):
            os.kill(pid, signal.SIGKILL)
        self.wait_until(
            "both to be replaced",
            lambda: (
                self.dev.is_ready()
                and self.dev.state().server_pid != before.server_pid
                and self.dev.state().workers[0].pid != before.workers[0].pid
            ),
        )


def test_the_tutorial_goes_as_it_is_written(
    kontinue: Kontinue, start_dev: Callable[..., Dev], wait_until: WaitUntil
) -> None:
    """Each block in its order, in one folder."""
    (kontinue.folder / "app.py").unlink()
    reader = Reader(kontinue, start_dev, wait_until)
    for language, text in blocks():
        if language == "python":
            reader.write(text)
            continue
        for words, expected in commands(text):
            reader.run(words, expected)
    assert reader.dev.stop() == 0
