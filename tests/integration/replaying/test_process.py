"""The process that replays: one question, one answer; what hangs or dies concerns one history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionSpec, ExecutionStatus
from kontinue_engine.errors import AppLoadFailedError
from kontinue_engine.replaying import process as replaying
from kontinue_engine.replaying.process import ReplayProcess
from kontinue_engine.replaying.verdicts import Finding

pytestmark = pytest.mark.slow

APP = """
import os
import sys
from pathlib import Path

from kontinue import App, ExecutionContext, SyncExecutionContext

app = App(group="g")
with Path("imports").open("a") as imports:
    imports.write("x")
print("on stdout, which belongs to the answers")


def work() -> int:
    return 1


@app.function
async def fits(ctx: ExecutionContext) -> int:
    try:
        print("in the body")
        value = await ctx.step(work)
        return value + await ctx.step(work)
    finally:
        Path("unwound").touch()


@app.function
def hangs(ctx: SyncExecutionContext) -> None:
    while True:
        pass


@app.function
async def blocks(ctx: ExecutionContext) -> None:
    while True:
        pass


@app.function
def exits(ctx: SyncExecutionContext) -> None:
    os._exit(7)


@app.function
def order(ctx: SyncExecutionContext) -> None:
    ctx.step(work, *{f"name {number}" for number in range(20)})
"""
RECORD = '{"id":"1","kind":"step","name":"work","digest":"%s","seq":1,"atMs":5,"value":1,"line":"app.py:15"}'
NO_ARGUMENTS = "44136fa355b3678a"


def execution(function: str, digest: str = NO_ARGUMENTS) -> Execution:
    state = msgspec.Raw(b'{"build":"b","records":[' + (RECORD % digest).encode() + b"]}")
    return Execution(
        metadata=ObjectMeta(name="one", namespace="ns", uid="u"),
        spec=ExecutionSpec(function=function, arguments=msgspec.Raw(b"{}")),
        status=ExecutionStatus(state=state),
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the app is, and where the tests run."""
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def process(folder: Path) -> Iterator[ReplayProcess]:
    """On the app."""
    with ReplayProcess("app:app", str(folder)) as process:
        yield process


def test_a_history_is_replayed_by_the_code_in_the_folder(process: ReplayProcess, folder: Path) -> None:
    """Its prints disturb nobody, and nothing of it is unwound."""
    loaded = process.load()
    assert (loaded.group, loaded.functions) == ("g", ["blocks", "exits", "fits", "hangs", "order"])
    digest = process.check(execution("fits", "0")).requested.split("digest ")[1].partition(")")[0]
    found = process.check(execution("fits", digest))
    assert (found.finding, found.message) == (Finding.REPLAYS, "then waits for Step work")
    process.close()
    assert not (folder / "unwound").exists()


def test_after_many_histories_there_is_a_new_process(
    process: ReplayProcess, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left where it waits keeps a thread each, and thousands of those are more than a container may have."""
    monkeypatch.setattr(replaying, "HISTORIES", 2)
    digest = process.check(execution("order", "0")).requested.split("digest ")[1].partition(")")[0]
    found = [process.check(execution("order", digest)).finding for _ in range(4)]
    assert found == [Finding.REPLAYS] * 4
    assert (folder / "imports").read_text() == "xxx"


@pytest.mark.parametrize("function", ["hangs", "blocks"])
def test_code_that_never_asks_for_anything_is_given_up(folder: Path, function: str) -> None:
    """So that those behind it get their turn."""
    with ReplayProcess("app:app", str(folder), timeout_s=1) as process:
        found = process.check(execution(function))
        assert (found.finding, found.message) == (Finding.UNCHECKED, "its replay has no end: no answer within 1 s")


def test_code_that_ends_the_process_concerns_one_history(process: ReplayProcess) -> None:
    """The next one is replayed by a new process."""
    found = process.check(execution("exits"))
    assert found.finding is Finding.UNCHECKED
    assert "the process that replays it exited with status 7" in found.message
    assert process.check(execution("fits", "0")).finding is Finding.DIFFERS


def test_hashes_are_those_of_runners(folder: Path) -> None:
    """A body that iterates over a set of texts asks for the same in every process."""
    requested = set()
    for _ in range(2):
        with ReplayProcess("app:app", str(folder)) as process:
            requested.add(process.check(execution("order", "0")).requested)
    assert len(requested) == 1


def test_an_app_that_does_not_import_is_an_error_with_its_traceback(folder: Path) -> None:
    """Or one that ends the process."""
    (folder / "broken.py").write_text("raise ValueError('half written')\n")
    (folder / "gone.py").write_text("import os\nos._exit(3)\n")
    with (
        ReplayProcess("broken:app", str(folder)) as process,
        pytest.raises(AppLoadFailedError, match="half written") as caught,
    ):
        process.check(execution("fits"))
    assert "broken.py" in caught.value.traceback
    with ReplayProcess("gone:app", str(folder)) as process, pytest.raises(AppLoadFailedError, match="status 3"):
        process.load()
