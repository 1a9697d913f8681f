"""Jobs that are held together by primitives, on a real control plane: Pods that die, stages, and what docs/ shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from manifest_world import ManifestWorld
from polling import eventually

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"^```(yaml|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
WORKER = """
koncli waitgroup add batch-jobs --holder "pod/$HOSTNAME"
say "$1 begins"
do-work
say "$1 ends"
koncli waitgroup done batch-jobs --holder "pod/$HOSTNAME"
"""
WORK = """say "begin $0"
say "end $0"
"""


def blocks_of(page: str, *, end: str = "\0") -> list[tuple[str, str]]:
    """Return language and text of each example of a page, as far as ``end``."""
    return BLOCK.findall((DOCS / f"{page}.md").read_text().partition(end)[0])


async def test_a_worker_that_is_killed_is_not_waited_for(world: ManifestWorld):
    """What its Pod held is released, so the next stage begins, after the worker that still lives."""
    work = {"do-work": "until [ -e finish ]; do sleep 0.05; done\n", "process-results": "say next stage\n"}
    root = world.add_image("my-app", work)
    group = await world.group("batch-jobs")
    for name in ("doomed", "steady"):
        await world.start_job(name, f"set -- {name}\n{WORKER}", image="my-app")
    await eventually(lambda: len(world.ledger) == 2)
    documented = [yaml.safe_load_all(block) for language, block in blocks_of("coordination") if language == "yaml"]
    await world.apply(one for some in documented for one in some if one["metadata"]["name"] == "next-stage")
    await world.kill_pods("doomed")
    await world.job_ends("doomed", how="Failed")
    await eventually(lambda: world.events("HolderGone"))
    assert (await group.status()).counter == 1
    (root / "finish").touch()
    await world.job_ends("next-stage")
    await world.job_ends("steady")
    assert world.ledger[2:] == ["steady ends", "next stage"]
    assert (await group.status()).counter == 0
    (released,) = await world.events("HolderGone")
    assert "Pod doomed-" in released


@pytest.mark.parametrize("page", ["locks", "semaphores", "barriers"])
async def test_what_the_documentation_shows_runs_in_pods(world: ManifestWorld, page: str):
    """The objects are created as they stand there, and each block of commands is a Job of three Pods."""
    scripts = ("deploy", "export", "import", "migrate")
    world.add_image("app", {f"./{name}.sh": WORK for name in scripts})
    blocks = blocks_of(page, end="## From Python")
    await world.apply(yaml.safe_load(block) for language, block in blocks if language == "yaml")
    jobs = {f"job-{number}": block for number, (language, block) in enumerate(blocks) if language == "sh"}
    for name, command in jobs.items():
        await world.start_job(name, command, image="app", count=3)
    for name in jobs:
        await world.job_ends(name)
    assert_sound(page, world.ledger)


def assert_sound(page: str, ledger: list[str]) -> None:
    """Only one at a time holds the Mutex, and the Once is done once; all have worked."""
    deploys = [line for line in ledger if "deploy" in line]
    if page == "locks":
        assert deploys == ["begin ./deploy.sh", "end ./deploy.sh"] * 3
        assert ledger.count("end ./migrate.sh") == 1
        assert (ledger.count("end ./export.sh"), ledger.count("end ./import.sh")) == (3, 3)
    if page == "semaphores":
        assert ledger.count("end ./migrate.sh") == 3
