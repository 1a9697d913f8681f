"""The short form of ``make chaos``: each kind of process is struck once, under load, in a group of three replicas."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from chaos.faults import Fault, Strike, Victim
from chaos.pods import LEASE_S
from chaos.rounds import run_rounds

FAULTS = (
    Fault(Victim.RUNNER, Strike.KILL),
    Fault(Victim.REPLICA, Strike.FREEZE, freeze_s=1.0),
    Fault(Victim.LEADER, Strike.TERM, new_pod=True),
    Fault(Victim.API_SERVER, Strike.KILL),
    Fault(Victim.REPLICA, Strike.KILL, new_pod=True),
    Fault(Victim.LEADER_TWICE, Strike.KILL),
    Fault(Victim.LEADER, Strike.LONG_FREEZE, freeze_s=LEASE_S + 2.0),
)
FAULTS_OF_ETCD = (Fault(Victim.ETCD, Strike.KILL),)


@pytest.mark.slow
@pytest.mark.timeout(1500)
async def test_nothing_is_lost_or_done_twice_whatever_replica_or_server_is_struck(
    tmp_path: Path, server_kind: str
) -> None:
    """Every Execution completes with what it recorded; a ledger outside never has to accept two replicas in turn."""
    faults = FAULTS if server_kind == "local" else FAULTS + FAULTS_OF_ETCD
    verdict = await run_rounds(tmp_path, server_kind, faults, Random(5), print)
    assert verdict.violations == [], verdict.counts
