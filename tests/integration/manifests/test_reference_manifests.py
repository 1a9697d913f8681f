"""The reference's own manifests, on a real control plane: its Jobs and Deployments, whose containers really run.

Only what Kubernetes itself demands and the reference leaves out is added: a restartPolicy, a selector and labels.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from kontinue import errors
from kontinue.sync import WaitGroup, WaitGroupPhase
from manifest_world import ManifestWorld
from polling import eventually

pytestmark = pytest.mark.slow

REFERENCE = Path(__file__).parent / "reference"
LABELS = {"app": "worker"}
"""That its commands for troubleshooting expect."""


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((REFERENCE / name).read_text()))


def completed(manifest: dict[str, Any]) -> dict[str, Any]:
    """Add what Kubernetes demands; what stands there stays as it is."""
    found = copy.deepcopy(manifest)
    if found["kind"] == "Job":
        found["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    if found["kind"] == "Deployment":
        found["spec"]["selector"] = {"matchLabels": LABELS}
        found["spec"]["template"]["metadata"] = {"labels": LABELS}
    return found


@pytest.mark.parametrize(
    ("name", "missing"),
    [("parallel-job-processing.yaml", "restartPolicy"), ("dynamic-workers.yaml", "selector")],
)
async def test_kubernetes_itself_refuses_what_the_reference_leaves_out(world: ManifestWorld, name: str, missing: str):
    """Its WaitGroups are accepted word for word; its Job and its Deployment lack a field that has no default."""
    group, workload = documents(name)
    await world.apply([group])
    with pytest.raises(errors.Invalid, match=missing):
        await world.apply([workload])


async def test_parallel_job_processing_runs_as_the_reference_has_it(world: ManifestWorld):
    """One container adds ten, starts ten workers and waits; it ends after all of them, and its Job is Complete."""
    world.add_image(
        "my-app",
        {"start-worker": 'say "worker $1"\nexec koncli -q waitgroup done batch-jobs\n'},
        shell="/bin/bash",  # a plain sh knows no {1..10}
    )
    group, job = documents("parallel-job-processing.yaml")
    await world.apply([group, completed(job)])
    await world.job_ends("coordinator")
    assert sorted(world.ledger) == sorted(f"worker {number}" for number in range(1, 11))
    assert list(world.node.exits.values()) == [[0]]
    ended = await WaitGroup("batch-jobs", world.client).status()
    assert (ended.counter, ended.phase, ended.added) == (0, WaitGroupPhase.DONE, 10)


async def test_dynamic_workers_run_as_the_reference_has_them(world: ManifestWorld):
    """Each of five Pods adds itself, works and is done; in the end nobody is left."""
    world.add_image("worker", {"do-work": 'say "worker $HOSTNAME"\n'})
    group, deployment = documents("dynamic-workers.yaml")
    await world.apply([group, completed(deployment)])
    await eventually(lambda: len(world.node.exits) == 5, pause_s=0.05)
    assert list(world.node.exits.values()) == [[0]] * 5
    assert sorted(world.ledger) == sorted(f"worker {pod}" for pod in world.node.exits)
    ended = await WaitGroup("workers", world.client).status()
    assert (ended.counter, ended.phase, ended.added) == (0, WaitGroupPhase.DONE, 5)
