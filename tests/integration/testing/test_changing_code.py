"""docs/changing-code.md: its files, its tests, and what it says that the command line prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

DOCUMENT = (Path(__file__).parents[3] / "docs" / "changing-code.md").read_text()
FILE = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```", re.DOTALL | re.MULTILINE)
OUTPUT = re.compile(r"^```console\n\$ (kontinue [^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^(kontinue replay [^#\n]*?) *(?:#.*)?$", re.MULTILINE)
EXPORT = """
import sys
from datetime import timedelta

import msgspec
import yaml

import shop
import shop_next
from kontinue_engine.cli.description import describe_execution
from kontinue.errors import ExecutionBlocked
from kontinue_engine.testing import SyncTestEnvironment

with SyncTestEnvironment() as env:
    env.use(shop.app)
    run = env.spawn(shop.fulfil, "hat", 500)
    env.advance(timedelta(days=3))
    with open("histories/orders.yaml", "w") as file:
        yaml.safe_dump(msgspec.json.decode(msgspec.json.encode(run.get())), file)
    env.restart_worker(shop_next.app)
    try:
        run.result()
    except ExecutionBlocked:
        print(describe_execution(run.get(), [], env.now, whole=False))
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def described(folder: Path) -> str:
    """What `kontinue describe` prints of an order that the next version blocks; it is exported before that."""
    (folder / "histories").mkdir()
    done = run(folder, "-c", EXPORT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the document."""
    folder = tmp_path_factory.mktemp("shop")
    for name, code in FILE.findall(DOCUMENT):
        (folder / name).write_text(f"# {name}\n{code}")
    (folder / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\npythonpath = .\nasyncio_mode = auto\n"
        "asyncio_default_fixture_loop_scope = function\n"
    )
    return folder


def masked(text: str) -> list[str]:
    """Return the words of each line, without what differs from run to run."""
    text = re.sub(r"fulfil-[0-9a-f]{10}", "NAME", text)
    text = re.sub(r"(digest) [0-9a-f]{16}", r"\1 DIGEST", text)
    text = re.sub(r"build (?:[0-9a-f]{16}-py3\.\d+|test-\d)", "build BUILD", text)
    text = re.sub(r"[\w-]+/(shop\w*\.py)", r"\1", text)
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def test_its_tests_pass(folder: Path, described: str) -> None:
    """Those of what is Blocked, and those of exported histories."""
    plugins = ["-p", "pytest_asyncio.plugin", "-p", "kontinue_engine.pytest_plugin", "-p", "no:cacheprovider"]
    done = run(folder, "-m", "pytest", "-q", *plugins)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{DOCUMENT.count('def test_')} passed" in done.stdout
    assert described


def test_the_command_line_prints_what_it_says(folder: Path, described: str) -> None:
    """Up to names, digests and builds."""
    outputs = dict(OUTPUT.findall(DOCUMENT))
    (describe,) = [text for command, text in outputs.items() if command.startswith("kontinue describe")]
    shown = masked(described)
    start = shown.index("Blocked:")
    assert masked(describe) == shown[start : start + len(masked(describe))]
    ((command, text),) = [(one, text) for one, text in outputs.items() if one.startswith("kontinue replay")]
    done = run(folder, "-m", "kontinue_engine.cli", *command.split()[1:])
    assert (done.returncode, done.stderr) == (1, "")
    assert masked(done.stdout) == masked(text)


def test_its_commands_are_ones_that_the_command_line_takes(folder: Path, described: str) -> None:
    """With the server away, they get as far as that; the one that needs none does its work."""
    assert described
    commands = COMMAND.findall(DOCUMENT)
    assert len(commands) == 4
    (folder / "orders.yaml").write_text((folder / "histories" / "orders.yaml").read_text())
    (folder / "nowhere").write_text("{}")
    for command in commands:
        done = run(folder, "-m", "kontinue_engine.cli", *command.split()[1:], "--kubeconfig", "nowhere")
        if " -f " in command:
            assert (done.returncode, "Differs" in done.stdout) == (1, True), done.stderr
        else:
            assert done.returncode == 1, f"{command}: {done.stderr}"
            assert "nowhere" in done.stderr
