"""Which command a Pod stands for on a laptop, and which Pods stand for none."""

from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.cli.dev.local_commands import NoLocalCommandError, local_command


def pod(**container: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", "image": "shop:1", "command": ["alembic"], **container}]}


def test_command_and_arguments_are_run_with_the_containers_variables() -> None:
    """On top of this machine's; references are expanded as Kubernetes does."""
    spec = pod(
        command=["alembic", "-x", "$(STAGE)"],
        args=["$(UNKNOWN)", "$$(STAGE)", "costs $5"],
        env=[{"name": "STAGE", "value": "prod"}, {"name": "URL", "value": "db.$(STAGE)"}, {"name": "EMPTY"}],
    )
    found = local_command(spec, {"PATH": "/bin", "STAGE": "laptop"}, max_grace_s=5)
    assert found.container == "main"
    assert found.arguments == ("alembic", "-x", "prod", "$(UNKNOWN)", "$(STAGE)", "costs $5")
    assert found.environment == {"PATH": "/bin", "STAGE": "prod", "URL": "db.prod", "EMPTY": ""}


def test_the_grace_period_is_the_pods_if_it_is_short() -> None:
    """Nobody waits for half a minute on a laptop."""
    assert local_command(pod() | {"terminationGracePeriodSeconds": 30}, {}, max_grace_s=5).grace_s == 5
    assert local_command(pod() | {"terminationGracePeriodSeconds": 1}, {}, max_grace_s=5).grace_s == 1


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (pod(command=[]), "has no command: --jobs=process does not know the entry point of image shop:1"),
        (pod(env=[{"name": "A", "valueFrom": {}}]), r"variable A of container main comes from the cluster"),
        (pod() | {"initContainers": [{}]}, "several containers"),
        ({"containers": [{}, {}]}, "several containers"),
    ],
)
def test_what_no_local_process_can_stand_for_is_refused(spec: dict[str, Any], why: str) -> None:
    """Instead of running something else."""
    with pytest.raises(NoLocalCommandError, match=why):
        local_command(spec, {}, max_grace_s=5)
