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
from notices import without_notices


async def call(api_server: ApiServer, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run ``koncli operator`` about the test's namespace."""
    given = ["--kubeconfig", str(api_server.kubeconfig), "operator", "--operator-namespace", api_server.namespace]
    code = await asyncio.to_thread(koncli.main, [*given, *words])
    said = capsys.readouterr()
    return code, said.out, without_notices(said.err)


async def create_lease(api_server: ApiServer, renewed: datetime, **notes: str) -> None:
    """Create that of a coordinator."""
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": "kontinue-coordinator",
            "labels": {labels.COORDINATOR: group.GROUP},
            "annotations": notes,
        },
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
    assert (said[0], header) == (code, ["NAMESPACE", "HOLDER", "SCOPE", "RENEWED", "WORKS"])
    assert (row[:2], row[-1]) == ([api_server.namespace, "pod-1"], works)
    assert said[2].startswith("None of them has renewed its Lease in time: ") == (works == "no")
    (fields,) = json.loads((await call(api_server, capsys, "-o", "json"))[1])
    assert (fields["holder"], fields["works"]) == ("pod-1", works == "yes")


@pytest.mark.parametrize(
    ("looks_after", "scope", "code", "said"),
    [
        ("*", "all", 0, ""),
        ("other", "other", 0, ""),
        ("another", "another", 2, "None of them looks after namespace other: "),
        (None, "unknown", 0, "Whether one of them looks after namespace other is unknown: "),
    ],
    ids=["all", "this", "another", "unknown"],
)
async def test_who_works_is_judged_by_the_namespace_that_is_asked_about(
    api_server: ApiServer,
    capsys: pytest.CaptureFixture[str],
    looks_after: str | None,
    scope: str,
    code: int,
    said: str,
):
    """One that looks after another namespace does nothing here; those of earlier versions do not say."""
    notes = {} if looks_after is None else {labels.LOOKS_AFTER: looks_after}
    await create_lease(api_server, datetime.now(UTC), **notes)
    found, out, err = await call(api_server, capsys, "-n", "other")
    assert (found, out.splitlines()[1].split()[2]) == (code, scope)
    assert err.startswith(said)
    assert bool(err) == bool(said)
    assert ("kontinue coordinator run -n other" in err) == (code == 2)
    (fields,) = json.loads((await call(api_server, capsys, "-n", "other", "-o", "json"))[1])
    assert fields["scope"] == looks_after


async def test_of_all_namespaces_somebody_works_where_anybody_does(
    api_server: ApiServer, capsys: pytest.CaptureFixture[str]
):
    """Whatever it looks after: the table tells."""
    await create_lease(api_server, datetime.now(UTC), **{labels.LOOKS_AFTER: "another"})
    assert (await call(api_server, capsys, "-A"))[::2] == (0, "")


async def test_one_of_an_earlier_version_looks_after_its_own_namespace_at_least(
    api_server: ApiServer, capsys: pytest.CaptureFixture[str]
):
    """Nothing is unknown there."""
    await create_lease(api_server, datetime.now(UTC))
    assert (await call(api_server, capsys, "-n", api_server.namespace))[::2] == (0, "")
