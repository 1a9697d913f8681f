"""Programs in Go: client-go and controller-runtime do their work on either server and see the same."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import kube
from servers import Server

SOURCES = Path(__file__).parent / "client_go"
BUILD_TIMEOUT_S = 900
"""The first build compiles client-go and controller-runtime; later ones take a second."""


@pytest.fixture(scope="session")
def program() -> Path:
    """Build the Go program into the cache folder."""
    if shutil.which("go") is None:
        reason = "no go: client-go is not tested"
        if os.environ.get("KONTINUE_REQUIRE_KUBE") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    path = kube.program_folder().parent / "clients" / "client-go"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment = {**os.environ, "CGO_ENABLED": "0"}
        command = ["go", "build", "-trimpath", "-o", str(path), "."]
        built = subprocess.run(
            command, cwd=SOURCES, env=environment, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S
        )
    assert built.returncode == 0, built.stderr
    return path


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
