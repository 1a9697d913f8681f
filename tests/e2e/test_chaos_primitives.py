"""The short form of ``make chaos-primitives``: each kind of process dies once while all primitives are in use."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from primitives_chaos import mortal
from primitives_chaos.faults import Fault, Victim
from primitives_chaos.rounds import run_rounds

FAULTS = (
    Fault(victim=Victim.COORDINATOR, at_request=9, when=mortal.AFTER),
    Fault(victim=Victim.CLIENT, at_request=20, when=mortal.AFTER, which=1),
    Fault(victim=Victim.API_SERVER, after_s=0.1),
    Fault(victim=Victim.WORKER, after_s=0.3),
)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_nothing_is_lost_doubled_or_opened_too_early_whatever_dies(tmp_path: Path, server_kind: str):
    """Counters end where they must, locks and permits are never held by too many, and nobody waits for the dead."""
    verdict = await run_rounds(tmp_path, server_kind, FAULTS, Random(8), print)
    assert verdict.violations == [], verdict.counts
