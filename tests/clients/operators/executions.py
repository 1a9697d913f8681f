"""An operator on Executions, for test_kopf.py: run by ``kopf run``. What it did shows in the objects, save one file.

``OPERATOR_RUN`` names this run; the last words about deleted objects go into ``OPERATOR_FAREWELLS``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import kopf

PLURAL = "executions.kontinue.cloud"
OURS = "example.com"


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Leave cluster-wide objects alone, and do not linger."""
    settings.posting.enabled = False
    settings.persistence.finalizer = f"{OURS}/operator"
    settings.watching.server_timeout = 60


@kopf.on.login()
def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """Use the kubeconfig and nothing else."""
    return kopf.login_with_kubeconfig(**kwargs)


@kopf.on.create(PLURAL)
def create(patch: kopf.Patch, retry: int, **_: Any) -> None:
    """Begin with the second try."""
    if retry == 0:
        raise kopf.TemporaryError("not yet", delay=0.1)
    patch.status["phase"] = "Executing"
    patch.metadata.annotations[f"{OURS}/created-at-try"] = str(retry)


@kopf.on.update(PLURAL)
def update(patch: kopf.Patch, diff: kopf.Diff, **_: Any) -> None:
    """Say how much changed."""
    patch.metadata.annotations[f"{OURS}/changes"] = str(len(diff))


@kopf.on.field(PLURAL, field="metadata.labels.colour")
def colour(new: str | None, patch: kopf.Patch, **_: Any) -> None:
    """Repeat the label."""
    patch.metadata.annotations[f"{OURS}/colour"] = str(new)


@kopf.on.resume(PLURAL)
def resume(patch: kopf.Patch, **_: Any) -> None:
    """Name the run that found the object."""
    patch.metadata.annotations[f"{OURS}/resumed-by"] = os.environ["OPERATOR_RUN"]


@kopf.on.delete(PLURAL)
def delete(name: str, **_: Any) -> None:
    """Say farewell."""
    with Path(os.environ["OPERATOR_FAREWELLS"]).open("a") as farewells:
        farewells.write(f"{name}\n")
