"""Replay gives a program the same values in the same order, from every prefix of its memo, in another process.

``fuzz`` is the property test and can be run by hand with more programs; the mutants show that it would notice.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FUZZ = Path(__file__).parent / "fuzz.py"


def run_fuzz(*arguments: object) -> tuple[dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, str(FUZZ), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=110
    )
    output = done.stdout + done.stderr
    assert done.stdout.strip(), output
    return json.loads(done.stdout.splitlines()[-1]), output


@pytest.mark.parametrize(("kind", "programs"), [("async", 120), ("sync", 80), ("crashes", 250), ("attempts", 400)])
def test_replay_repeats_every_program_from_every_prefix(kind: str, programs: int) -> None:
    """Result, trace, step ids, digests, values, order and started effects equal those of the first run."""
    summary, output = run_fuzz("--kind", kind, "--programs", programs, "--seed", 1)

    assert (summary["bad_live"], summary["bad_replays"], summary["replay_exit"]) == (0, 0, 0), output
    assert summary["programs"] == programs
    assert summary["replays"] > 4 * programs


@pytest.mark.parametrize(
    ("mutant", "kind", "programs"),
    [
        ("arrival_order", "async", 30),
        ("arrival_order", "sync", 30),
        ("no_idle_gate", "async", 30),
        ("no_idle_gate", "sync", 30),
        ("early_effects", "async", 30),
        ("early_effects", "sync", 30),
        ("address_hash", "async", 60),
        ("no_flush", "crashes", 250),
        ("no_generation", "attempts", 400),
        ("no_reuse", "attempts", 400),
    ],
)
def test_fuzz_notices_a_planted_bug(mutant: str, kind: str, programs: int) -> None:
    """The property test fails for an engine with this bug; a test that cannot fail proves nothing."""
    summary, output = run_fuzz("--kind", kind, "--programs", programs, "--seed", 1, "--mutant", mutant)

    assert summary["replay_exit"] == 0, output
    assert summary["bad_live"] + summary["bad_replays"] > 0, output


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_a_rehearsal_of_any_prefix_replays_and_starts_nothing_and_finds_any_edit(kind: str) -> None:
    """What `kontinue replay` does, on the same programs: no step, child or timer; the step that was edited is named."""
    arguments = ["--kind", kind, "--programs", "40", "--seed", "1"]
    done = subprocess.run(
        [sys.executable, str(FUZZ.with_name("rehearse.py")), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["wrong"] == 0
    assert summary["replays"] > summary["edits"] > 4 * summary["programs"]
