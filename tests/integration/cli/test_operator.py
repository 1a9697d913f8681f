"""``koncli operator``: who looks after the primitives of a server."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from api_server import ApiServer
from kontinue.api import labels
from kontinue.api.konductor import group
from kontinue.kube import requests
from kontinue_engine.cli import koncli


async def call(api_server: ApiServer, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run ``koncli operator`` about the test's namespace."""
    given = ["--kubeconfig", str(api_server.kubeconfig), "operator", "--operator-namespace", api_server.namespace]
    code = await asyncio.to_thread(koncli.main, [*given, *words])
    said = capsys.readouterr()
    return code, said.out, said.err


async def create_lease(api_server: ApiServer, renewed: datetime) -> None:
    """Create that of a coordinator."""
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "kontinue-coordinator", "labels": {labels.COORDINATOR: group.GROUP}},
        "spec": {
            "holderIdentity": "pod-1",
            "leaseDurationSeconds": 40,
            "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
    }
    transport = api_server.transport()
    await transport.send(requests.create(requests.LEASES, api_server.namespace, body))
    await transport.close()


async def test_nobody_works_where_nobody_keeps_a_lease(api_server: ApiServer, capsys: pytest.CaptureFixture[str]):
    """That is not found, on any server, and what to do is told; programs get an empty list."""
    code, out, err = await call(api_server, capsys)
    assert (code, out) == (2, "")
    assert err.startswith("No coordinator keeps a Lease that you may see: ")
    assert "kontinue coordinator run" in err
    code, out, err = await call(api_server, capsys, "-o", "json")
    assert (code, json.loads(out)) == (2, [])


@pytest.mark.parametrize(("age", "code", "works"), [(timedelta(), 0, "yes"), (timedelta(hours=1), 2, "no")])
async def test_who_keeps_a_lease_works(
    api_server: ApiServer, capsys: pytest.CaptureFixture[str], age: timedelta, code: int, works: str
):
    """Until it has run out; options of the original are taken."""
    await create_lease(api_server, datetime.now(UTC) - age)
    said = await call(api_server, capsys, "--service", "konductor-controller-manager")
    header, row = (line.split() for line in said[1].splitlines())
    assert (said[0], header) == (code, ["NAMESPACE", "HOLDER", "RENEWED", "WORKS"])
    assert (row[:2], row[-1]) == ([api_server.namespace, "pod-1"], works)
    (fields,) = json.loads((await call(api_server, capsys, "-o", "json"))[1])
    assert (fields["holder"], fields["works"]) == ("pod-1", works == "yes")
