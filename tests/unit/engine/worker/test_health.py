"""Probes: what is live, what is ready, and how that is said."""

from __future__ import annotations

import pytest

from kontinue_engine.sharding.tenure import Standing
from kontinue_engine.worker.health import Health, Stage, pages_of, why_not_live, why_not_ready
from kontinue_engine.worker.pages import Page


class Holder:
    """Of a Lease that is what a test says."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing


def health_of(stage: Stage, standing: Standing) -> Health:
    health = Health()
    health.stage, health.lease = stage, Holder(standing)
    return health


@pytest.mark.parametrize("standing", Standing)
def test_only_a_lost_lease_ends_a_life(standing: Standing) -> None:
    """A worker without an API server is fenced; to start it anew would cost what it has in memory."""
    assert bool(why_not_live(standing)) == (standing is Standing.LOST)


@pytest.mark.parametrize(
    ("stage", "standing", "says"),
    [
        (Stage.STARTING, Standing.WAITING, "starting"),
        (Stage.STARTING, Standing.WRITING, "starting"),
        (Stage.STANDING_BY, Standing.WAITING, ""),
        (Stage.WORKING, Standing.WRITING, ""),
        (Stage.WORKING, Standing.FENCED, "fenced"),
        (Stage.WORKING, Standing.LOST, "holds no Lease"),
        (Stage.DRAINING, Standing.WRITING, "stopping"),
    ],
)
def test_who_works_or_stands_by_is_ready(stage: Stage, standing: Standing, says: str) -> None:
    """Everybody else says why not."""
    problem = why_not_ready(stage, standing)
    assert (says in problem) if says else not problem


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_problem_is_told_with_503(path: str) -> None:
    """In one line; without one it says ok."""
    bad, good = health_of(Stage.STARTING, Standing.LOST), health_of(Stage.WORKING, Standing.WRITING)
    page = pages_of(bad)[path]()
    assert page.status == 503
    assert page.text.count("\n") == 1
    assert pages_of(good)[path]() == Page(text="ok\n")
