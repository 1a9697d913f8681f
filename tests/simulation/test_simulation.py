"""Replicas that share a group's Executions keep every promise while everything around them goes wrong.

``simulate.py`` says which worlds there are, and plays them in processes of their own, where a seed is always the same
world. KONTINUE_SIMULATION_SEEDS=FROM:TO plays other whole worlds, or more, and of pure ones ``PURE_FOR_EACH`` times as
many. The mutants show that a broken product would be noticed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SIMULATE = Path(__file__).parent / "simulate.py"
SEEDS = os.environ.get("KONTINUE_SIMULATION_SEEDS", "0:60")
FIRST, LAST = (int(part) for part in SEEDS.split(":"))
WORLDS_AT_ONCE = 30
PURE_FOR_EACH = 35
MUTANT_SEEDS = 120
PURE_MUTANT_SEEDS = 1000
PATIENCE_S = 600
"""The longest take half a minute of a processor that other tests want, too."""

pytestmark = pytest.mark.timeout(PATIENCE_S + 60)


def simulate(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SIMULATE), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FIRST, LAST, WORLDS_AT_ONCE))
def test_every_promise_holds_in_every_world(first: int) -> None:
    """One writer per Lease, claims in order, one end per Execution, nothing lost, each step recorded once."""
    done = simulate("--seeds", f"{first}:{min(first + WORLDS_AT_ONCE, LAST)}", "--keep-going")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FIRST, LAST, WORLDS_AT_ONCE))
def test_what_decides_keeps_every_promise_in_thousands_of_worlds(first: int) -> None:
    """One writer per Lease, one run per Execution and mutex, no more than a limit, deaths are charged, nothing lost."""
    last = min(first + WORLDS_AT_ONCE, LAST)
    done = simulate("--pure", "--seeds", f"{first * PURE_FOR_EACH}:{last * PURE_FOR_EACH}", "--keep-going")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


@pytest.mark.parametrize(("kind", "seed"), [("--seeds=7:8", 7), ("--pure", 87)])
def test_a_seed_is_the_same_world_every_time(kind: str, seed: int) -> None:
    """Otherwise a failure could not be looked into."""
    traces = [simulate(kind, "--seed", seed, "--trace").stdout.rpartition("\n1 worlds")[0] for _ in range(2)]
    assert "healed" in traces[0]
    assert traces[0] == traces[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "faults", "noticed"),
    [
        ("verdict_without_version", "stall,rain", "goes on, although"),
        ("take_without_version", "kill,freeze", "may write under Lease"),
        ("relabel_without_version", "rain,terminate", ""),
        ("claim_skipped", "terminate,kill,crash_runner", ""),
        ("fence_ignored", "freeze,cut", ""),
        ("fence_counts_from_the_answer", "cut,freeze", "may write under Lease"),
        ("runners_not_frozen", "cut", "goes on, although it has been fenced"),
        ("renew_time_compared", "kill,freeze", ""),
        ("placement_kept", "busy,rain", "has not ended"),
    ],
)
def test_a_planted_bug_is_noticed(mutant: str, faults: str, noticed: str) -> None:
    """A simulation that passes with a broken engine would prove nothing."""
    done = simulate("--seeds", f"0:{MUTANT_SEEDS}", "--mutant", mutant, "--faults", faults)
    assert_noticed(done, noticed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "faults", "noticed"),
    [
        ("verdict_without_version", "stall,rain", ""),
        ("take_without_version", "kill,freeze", "may write under Lease"),
        ("relabel_without_version", "rain,terminate", ""),
        ("claim_skipped", "terminate,kill", ""),
        ("fence_ignored", "freeze,cut", "may write under Lease"),
        ("renew_time_compared", "kill,freeze", "may write under Lease"),
        ("stopped_while_unsure", "cancel,rain", "run at the same time"),
        ("grant_without_version", "cancel,rain,kill,stall", "although the mutex is not its own"),
        ("old_grant_believed", "cancel,rain,stall", ""),
        ("mutex_given_on_unseen", "cancel,rain", "run at the same time"),
        ("limit_forgets_the_stopping", "cancel,rain", "run at the same time"),
        ("limit_forgets_the_last_reign", "cancel,terminate,kill", "run at the same time"),
        ("lost_by_not_noted", "kill,freeze", "nothing says so"),
        ("lost_by_ignored", "kill,freeze", "is not charged"),
    ],
)
def test_a_planted_bug_is_noticed_in_pure_worlds(mutant: str, faults: str, noticed: str) -> None:
    """Within fewer worlds than every run of the tests plays."""
    done = simulate("--pure", "--seeds", f"0:{PURE_MUTANT_SEEDS}", "--mutant", mutant, "--faults", faults)
    assert_noticed(done, noticed)


def assert_noticed(done: subprocess.CompletedProcess[str], noticed: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith("seed "), done.stdout + done.stderr
    assert noticed in done.stdout
