"""What ``kontinue init`` writes works unedited: its tests pass, and its functions run in ``kontinue dev``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Kontinue = Any  # classes are in conftest, which importlib mode does not let us import


@pytest.fixture
def project(kontinue: Kontinue) -> Kontinue:
    """The command line in a folder that it has made."""
    done = kontinue("init", "hello")
    assert done.returncode == 0, done.stderr
    return type(kontinue)(kontinue.folder / "hello")


def test_its_own_tests_pass(project: Kontinue) -> None:
    """With the pytest that is installed."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=project.folder, env=project.env, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_a_worker_could_start_with_it(project: Kontinue) -> None:
    """As its README checks in CI."""
    done = project("worker", "check", "app:app")
    assert (done.returncode, "hello(name: string) -> string" in done.stdout) == (0, True), done.stderr


def test_its_functions_run_in_dev(project: Kontinue, start_dev: Callable[..., Any]) -> None:
    """As its README says."""
    start_dev(of=project).ready()
    done = project("execute", "-q", "hello", "-p", "name=Ada")
    assert (done.returncode, done.stdout) == (0, '"Hello ADA"\n'), done.stderr
