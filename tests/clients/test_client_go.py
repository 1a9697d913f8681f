"""Programs in Go: client-go and controller-runtime do their work on either server and see the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kube
from servers import Server

BUILD = Path(__file__).parents[2] / "tools" / "kube" / "build.py"
NO_GO = 3
"""Its exit status where nothing could be built."""
BUILD_TIMEOUT_S = 900
"""Without ``make kube`` before: the first build compiles client-go and controller-runtime."""


@pytest.fixture(scope="session")
def program() -> Path:
    """The Go program, built anew if its sources have changed."""
    command = [sys.executable, str(BUILD), "client-go"]
    built = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
    if built.returncode == NO_GO and os.environ.get("KONTINUE_REQUIRE_KUBE") != "1":
        pytest.skip(built.stderr.strip())
    assert built.returncode == 0, built.stderr
    return kube.program_folder() / "client-go"


@pytest.mark.timeout(BUILD_TIMEOUT_S + 120)
@pytest.mark.parametrize(
    ("check", "seen"),
    [
        (
            "typed",
            {
                "updated": {"a": "2"},
                "binary": {"b": "AAH/"},
                "patched": {"a": "2", "c": "3"},
                "secret": {"k": "dg=="},
                "secretType": "Opaque",
                "listed": 1,
                "alreadyExists": True,
                "conflict": True,
                "precondition": True,
                "notFound": True,
            },
        ),
        (
            "dynamic",
            {
                "paged": ["a", "b", "c", "d", "e"],
                "invalid": True,
                "phase": "Failed",
                "generation": 1,
                "selected": 1,
                "left": 4,
            },
        ),
        (
            "apply",
            {
                "conflict": True,
                "forced": {"kept": "yes", "owner": "two"},
                "removed": {"owner": "two"},
                "managers": ["one", "two"],
                "typed": {"a": "1"},
            },
        ),
        (
            "informers",
            {"maps": ["added before"], "executions": ["added followed", "updated followed", "deleted followed"]},
        ),
        ("leader-election", {"holder": "second", "transitions": 1, "duration": 2, "renewed": True}),
        (
            "discovery",
            {
                "hasVersion": True,
                "executions": True,
                "status": True,
                "leases": True,
                "resource": "executions",
                "scope": "namespace",
                "short": "configmaps",
            },
        ),
        (
            "controller-runtime",
            {
                "answer": {"generation": "1"},
                "owner": "Execution",
                "blocks": True,
                "released": "reconciled",
                "elected": True,
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_go_program_sees_what_it_should(
    server: Server, namespace: str, program: Path, check: str, seen: dict[str, Any]
) -> None:
    """The whole report of the check, as a real server makes it."""
    done = subprocess.run(
        [str(program), str(server.kubeconfig), namespace, check], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == seen
