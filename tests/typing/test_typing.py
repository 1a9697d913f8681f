"""Both type checkers infer what ``inferred.py`` pins and report what ``mistakes.py`` plants."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = ("inferred.py", "mistakes.py")
MARKER = "# error"

Reports = dict[str, dict[int, str]]
"""File name -> line -> first message."""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reports]:
    """Every error of each checker; both run once, at the same time.

    They check copies: the project's own pyright settings leave the planted mistakes out.
    """
    folder = tmp_path_factory.mktemp("typing")
    for name in FILES:
        shutil.copy(HERE / name, folder)
    with ThreadPoolExecutor() as pool:
        mypy, pyright = pool.submit(run_mypy, folder), pool.submit(run_pyright, folder)
        return {"mypy": mypy.result(), "pyright": pyright.result()}


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_checker_infers_what_is_pinned(reports: dict[str, Reports], checker: str) -> None:
    """The file of right uses has no error at all."""
    assert reports[checker]["inferred.py"] == {}


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_checker_reports_every_planted_mistake_and_nothing_else(reports: dict[str, Reports], checker: str) -> None:
    """Each marked line is an error; a line that is not marked is none."""
    lines = (HERE / "mistakes.py").read_text().splitlines()
    planted = {number for number, line in enumerate(lines, start=1) if line.endswith(MARKER)}
    found = reports[checker]["mistakes.py"]
    assert {number: lines[number - 1] for number in planted - found.keys()} == {}
    assert {number: message for number, message in found.items() if number not in planted} == {}


def run_mypy(folder: Path) -> Reports:
    """Return the errors that ``mypy --strict`` reports."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--hide-error-context"]
    output = run([*command, *FILES], folder)
    matches = re.findall(r"^(.+?):(\d+): error: (.*)$", output, re.MULTILINE)
    return collect((file, int(line), message) for file, line, message in matches)


def run_pyright(folder: Path) -> Reports:
    """Return the errors that pyright reports; the files ask for strict mode themselves."""
    executable = shutil.which("pyright", path=str(Path(sys.executable).parent)) or "pyright"
    output = run([executable, "--outputjson", "--pythonpath", sys.executable, *FILES], folder)
    diagnostics = json.loads(output)["generalDiagnostics"]
    return collect(
        (item["file"], item["range"]["start"]["line"] + 1, item["message"])
        for item in diagnostics
        if item["severity"] == "error"
    )


def run(command: list[str], folder: Path) -> str:
    """Return what a checker prints; 1 is its exit code when it found errors."""
    process = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert process.returncode in (0, 1), process.stdout + process.stderr
    return process.stdout


def collect(errors: Iterable[tuple[str, int, str]]) -> Reports:
    """Sort errors by file and line."""
    found: Reports = {name: {} for name in FILES}
    for file, line, message in errors:
        found.setdefault(Path(file).name, {}).setdefault(line, message)
    return found
