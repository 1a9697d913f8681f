"""The pytest plug-in, in runs of pytest of its own: with pytest-asyncio, with anyio, and without either."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLUGIN = "kontinue_engine.pytest_plugin"
APP = """
from datetime import timedelta
from kontinue import App, ExecutionContext

app = App(group="shop")

@app.function
async def month(ctx: ExecutionContext) -> str:
    await ctx.sleep(timedelta(days=30))
    return "over"
"""
ASYNC_TEST = """
import pytest
from shop import app, month

{mark}
async def test_month(kontinue_env):
    kontinue_env.use(app)
    assert await (await kontinue_env.spawn(month)).result() == "over"
"""
SYNC_TEST = """
import pytest
from shop import app, month

@pytest.mark.kontinue_env(replay=False)
def test_month(kontinue_sync_env):
    kontinue_sync_env.use(app)
    run = kontinue_sync_env.spawn(month)
    assert run.result() == "over"
    assert run.get().status.resumptions == 0
"""


def run_pytest(folder: Path, test: str, *options: str) -> str:
    """Run a test with these plug-ins alone, and return what pytest prints."""
    (folder / "shop.py").write_text(APP)
    (folder / "test_shop.py").write_text(test)
    scope = "asyncio_default_fixture_loop_scope = function\n" if "pytest_asyncio.plugin" in options else ""
    (folder / "pytest.ini").write_text(f"[pytest]\nfilterwarnings = error\npythonpath = .\n{scope}")
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider", "-p", PLUGIN]
    done = subprocess.run(
        [*command, *options],
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
    ("mark", "options"),
    [
        ("@pytest.mark.asyncio", ["-p", "pytest_asyncio.plugin"]),
        ("@pytest.mark.anyio", ["-p", "anyio.pytest_plugin", "-k", "not trio"]),
    ],
    ids=["pytest-asyncio", "anyio"],
)
def test_the_fixture_works_with_each_plug_in_for_async_tests(tmp_path: Path, mark: str, options: list[str]) -> None:
    """It binds to whatever loop the test runs on."""
    assert "1 passed" in run_pytest(tmp_path, ASYNC_TEST.format(mark=mark), *options)


def test_a_sync_test_needs_neither_and_a_marker_gives_options(tmp_path: Path) -> None:
    """The marker is known to pytest: no warning, and no error where markers are strict."""
    assert "1 passed" in run_pytest(tmp_path, SYNC_TEST)


def test_it_is_registered_under_that_name_and_loads_nothing_before_it_is_asked_for() -> None:
    """Every start of pytest imports it, wherever kontinue is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"kontinue": PLUGIN}
    code = f"import sys, pytest, {PLUGIN}; print([name for name in sys.modules if name.startswith('kontinue')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.strip() == str(["kontinue_engine", PLUGIN])
