"""``kontinue archive`` against both API servers; the test makes the archives."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from api_server import ApiServer
from kontinue import archives
from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from notices import without_notices
from polling import eventually

pytestmark = pytest.mark.slow


async def put(transport: Transport, namespace: str, name: str, *, function: str, delete_at: datetime | None) -> None:
    """Archive an Execution with one Suspension."""
    meta = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "resourceVersion": "1", "labels": {"team": "a"}}
    root: dict[str, Any] = {
        "kind": "Execution",
        "apiVersion": labels.API_VERSION,
        "metadata": {**meta, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"function": function},
        "status": {"phase": "Completed", "finishedAt": "2026-01-01T00:00:01Z"},
    }
    owner = {"apiVersion": labels.API_VERSION, "kind": "Execution", "name": name, "uid": f"uid-{name}"}
    suspension = {
        "kind": "Suspension",
        "apiVersion": labels.API_VERSION,
        "metadata": {"name": f"{name}-s", "namespace": namespace, "uid": "s", "ownerReferences": [owner]},
        "spec": {"execution": name, "kind": "Manual", "displayName": "Ship it?"},
        "status": {"phase": "Completed", "resumedBy": "ada"},
    }
    packer = archives.Packer()
    for document in (root, suspension):
        packer.add(msgspec.json.encode(document))
    execution = msgspec.convert(root, Execution)
    for part in archives.build_parts(execution, packer.finish(), below=[], group="shop", delete_at=delete_at):
        await transport.send(requests.create(requests.ARCHIVED_EXECUTIONS, namespace, part))


async def test_archives_are_listed_and_shown(api_server: ApiServer) -> None:
    """By function and phase; what is in one as a tree, or as all of its objects."""
    transport = api_server.transport()
    later = datetime.now(UTC) + timedelta(days=2, hours=1, minutes=30)
    await put(transport, api_server.namespace, "order-7", function="fulfil", delete_at=later)
    await put(transport, api_server.namespace, "bill-1", function="bill", delete_at=None)
    await transport.close()

    async def archive(*arguments: str) -> subprocess.CompletedProcess[str]:
        return await kontinue("archive", *arguments)

    async def kontinue(*arguments: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "kontinue_engine.cli", *arguments],
            env={**os.environ, "KUBECONFIG": str(api_server.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    header, *lines = (await archive()).stdout.splitlines()
    assert header.split() == ["EXECUTION", "FUNCTION", "PHASE", "FINISHED", "EXECUTIONS", "SIZE", "DELETED", "AGE"]
    assert {line.split()[0]: line.split()[1:3] for line in lines} == {
        "order-7": ["fulfil", "Completed"],
        "bill-1": ["bill", "Completed"],
    }
    assert "in 49h" in next(line for line in lines if line.startswith("order-7"))
    assert "never" in next(line for line in lines if line.startswith("bill-1"))
    (name,) = (await archive("--function", "bill", "-o", "name")).stdout.splitlines()
    assert name.startswith("archivedexecutions.kontinue.cloud/bill-1-")
    none = await archive("--phase", "Failed")
    assert (none.stdout, without_notices(none.stderr)) == ("", "Nothing is archived.\n")
    assert [row["execution"] for row in json.loads((await archive("-l", "team=a", "-o", "json")).stdout)] != []
    shown = (await archive("order-7")).stdout
    assert "Keeps:    1 Execution, 1 Suspension, 0 MemoPages\n" in shown
    assert "order-7-s (Suspension)  Completed" in shown
    assert "Ship it?: resumed by ada" in shown
    objects = json.loads((await archive("order-7", "-o", "json")).stdout)["items"]
    assert [one["kind"] for one in objects] == ["Execution", "Suspension"]
    both = json.loads((await archive("bill-1", "order-7", "-o", "json")).stdout)
    assert (both["kind"], len(both["items"])) == ("List", 4)
    assert [one["metadata"]["name"] for one in both["items"] if one["kind"] == "Execution"] == ["bill-1", "order-7"]
    assert len((await archive("bill-1", "order-7", "-o", "name")).stdout.splitlines()) == 2
    completed: list[str] = []

    async def is_completed() -> bool:  # a line is not held up for a server that is slow
        completed[:] = (await kontinue("__complete", "--", "archive", "or")).stdout.split()
        return completed != []

    await eventually(is_completed)
    assert completed == ["order-7"]
    absent = await archive("absent")
    assert (absent.returncode, "no archive of Execution" in absent.stderr) == (1, True)
