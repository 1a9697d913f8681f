"""The first moments of ``kontinue`` and ``koncli``: signals that come while modules are still imported."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

SIGNALLED = """
import os, sys
from kontinue_engine.cli import entry

class Signals:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Signals())
sys.exit(entry.{program}())
"""
NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


def signalled(program: str, number: int, *before: str) -> tuple[int, str]:
    """Signal a program while it imports; return its exit code and what it said."""
    script = SIGNALLED.format(program=program, number=number)
    command = [*before, sys.executable, "-c", script, "version"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("program", ["kontinue", "koncli"])
def test_ctrl_c_while_modules_are_imported_ends_quietly(program: str) -> None:
    """Nobody reads a traceback for having changed his mind: 130, as at any other moment."""
    assert signalled(program, 2) == (130, "")


@pytest.mark.parametrize("number", [1, 15])
def test_process_1_of_a_container_ends_by_a_signal(number: int) -> None:
    """The kernel drops what process 1 has no handler for: then a Pod would be ended by force only."""
    if shutil.which(NAMESPACE[0]) is None or subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("this machine makes no PID namespace")
    assert signalled("koncli", number, *NAMESPACE) == (128 + number, "")
