"""The examples of documents run as they stand there, in a test environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = ROOT / "docs"
BLOCK = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SETTINGS = re.compile(r"^```ini\n# pytest\.ini\n(.*?)^```", re.DOTALL | re.MULTILINE)


def run_files(folder: Path, files: dict[str, str]) -> str:
    """Run what is a test among some files, set up as testing.md says it, and return what pytest prints."""
    for name, code in files.items():
        (folder / name).write_text(code)
    (settings,) = SETTINGS.findall((DOCUMENTS / "testing.md").read_text())
    (folder / "pytest.ini").write_text(settings)
    plugins = ["-p", "pytest_asyncio.plugin", "-p", "kontinue_engine.pytest_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *plugins],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "document",
    [
        "testing.md",
        "retries.md",
        "timeouts.md",
        "canceling.md",
        "long-histories.md",
        "suspensions.md",
        "polling.md",
        "jobs.md",
        "coordination-in-functions.md",
        "approvals.md",
        "cpu-bound-work.md",
        "from-celery.md",
        "from-temporal.md",
    ],
)
def test_every_example_of_a_document_passes(tmp_path: Path, document: str) -> None:
    """Blocks of one file name are one file, in their order."""
    files: dict[str, str] = defaultdict(str)
    for name, code in BLOCK.findall((DOCUMENTS / document).read_text()):
        files[name] += code
    passed = re.search(r"(\d+) passed", run_files(tmp_path, files))
    assert passed is not None
    assert int(passed[1]) >= files["test_shop.py"].count("def test_") > 0


def test_the_readmes_test_is_one_of_the_readmes_functions(tmp_path: Path) -> None:
    """The first example, and the test that it gets further down."""
    shop, *blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (test,) = (block for block in blocks if "kontinue_env" in block)
    payments = "class payments:\n    charge = staticmethod('receipt for {}'.format)\n"
    imports = "from kontinue_engine.testing import TestEnvironment\nfrom shop import app, fulfil, render\n"
    assert "1 passed" in run_files(tmp_path, {"shop.py": payments + shop, "test_shop.py": imports + test})
