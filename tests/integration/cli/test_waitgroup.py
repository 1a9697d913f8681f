"""``koncli waitgroup``, which is ``kontinue waitgroup`` too, against an API server; no coordinator runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import yaml

from api_server import ApiServer
from kontinue.client import Client
from kontinue.kube import requests
from kontinue.sync import WaitGroup
from kontinue_engine.cli import koncli, main
from notices import without_notices

Call = Callable[..., Awaitable["Said"]]


class Said(msgspec.Struct, frozen=True):
    """What a command line gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(api_server: ApiServer, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``koncli waitgroup``; returns exit code, stdout and stderr."""

    async def run(*words: str) -> Said:
        arguments = ["waitgroup", *words, "--kubeconfig", str(api_server.kubeconfig)]
        code = await asyncio.to_thread(koncli.main, arguments)
        captured = capsys.readouterr()
        return Said(code, captured.out, without_notices(captured.err))

    return run


@pytest.fixture
async def group(api_server: ApiServer) -> AsyncIterator[WaitGroup]:
    """``jobs``, as somebody else sees it; it does not exist yet."""
    transport = api_server.transport()
    yield WaitGroup("jobs", Client.from_kube(transport, api_server.namespace))
    await transport.close()


async def test_a_group_is_created_counted_on_waited_for_and_deleted(call: Call, group: WaitGroup):
    """Each verb says what it has done in one line; repeating create is no error."""
    name = "waitgroups.konductor.io/jobs"
    for what in ("created", "exists, unchanged"):
        assert await call("create", "jobs", "--ttl", "1h") == Said(0, f"{name} {what}\n", "")
    assert await call("add", "jobs", "--delta", "2") == Said(0, f"{name} counter 2\n", "")
    assert await call("done", "jobs") == Said(0, f"{name} counter 1\n", "")
    assert await call("add", "jobs", "--delta", "-1") == Said(0, f"{name} counter 0\n", "")
    assert (await call("wait", "jobs")).out == f"{name} done\n"
    listed = await call("list")
    header, row = (line.split() for line in listed.out.splitlines())
    assert header == ["NAME", "COUNTER", "PHASE", "ADDED", "TTL", "AGE"]
    assert row[:5] == ["jobs", "0", "Done", "2", "1h"]
    assert await call("delete", "jobs") == Said(0, f"{name} deleted\n", "")
    assert await call("list") == Said(0, "", "No waitgroups found.\n")


async def test_the_namespace_that_is_named_goes_before_that_of_the_context(
    call: Call, group: WaitGroup, api_server: ApiServer
):
    """Before the verb or behind it; the original has ignored it."""
    name = f"in-{api_server.namespace}"
    assert (await call("create", name, "-n", "kube-system")).code == 0
    assert (await call("-n", "kube-system", "done", name, "--clamp")).code == 0
    assert (await call("status", name)).code == 2
    assert (await call("delete", name, "--namespace", "kube-system")).code == 0
    assert (await call("status", name, "-n", "kube-system")).code == 2


async def test_a_wait_tells_its_progress_on_stderr_and_ends_with_the_last_done(call: Call, group: WaitGroup):
    """A script sees one line on stdout, and only at the end."""
    await group.create()
    await group.add(2)
    waiting = asyncio.create_task(call("wait", "jobs", "--timeout", "60s"))
    await asyncio.sleep(0)
    await group.done()
    assert not waiting.done()
    await group.done()
    said = await waiting
    assert (said.code, said.out) == (0, "waitgroups.konductor.io/jobs done\n")
    assert all(line.startswith("WaitGroup jobs: ") for line in said.err.splitlines())


async def test_what_goes_wrong_has_a_code_of_its_own(call: Call, group: WaitGroup):
    """1 for an error, 2 for what is not there, 3 for a timeout; the message says what it was about."""
    for verb in ("add", "done", "wait", "status", "delete"):
        said = await call(verb, "jobs")
        assert (said.code, said.out) == (2, ""), verb
        assert "jobs" in said.err
        assert f"(namespace {group.namespace} on http" in said.err
    await group.create()
    said = await call("done", "jobs")
    name = f"{group.namespace}/jobs"
    assert (said.code, said.err) == (1, f"error: WaitGroup {name}: the counter is 0: it cannot go below 0 by 1 done\n")
    assert (await call("done", "jobs", "--clamp")).code == 0
    said = await call("wait", "jobs", "--for-first-add", "--timeout", "0")
    assert said.code == 3
    assert "nothing was ever added to it" in said.err
    await group.add()
    said = await call("wait", "jobs", "--timeout", "0")
    assert (said.code, said.err) == (3, f"error: WaitGroup {name} is not done after 0s, its counter is 1\n")
    assert (await call("wait", "jobs", "--timeout", "10s", "-q")).code == 3
    assert (await call("add", "jobs", "--holder", "job/x")).code == 1
    assert (await call("add", "jobs", "--delta", "many")).code == 1
    assert (await call("add", "jobs", "--delta", str(2**40))).code == 1


async def test_an_operation_is_repeated_by_a_script(call: Call, group: WaitGroup):
    """With an id of its own it counts once."""
    await group.create()
    for _ in range(2):
        assert (await call("add", "jobs", "--delta", "3", "--operation-id", "plan")).out.endswith("counter 3\n")


async def test_programs_read_json_and_yaml(call: Call, group: WaitGroup):
    """The fields of an operation, and the objects of a list as the server has them."""
    await group.create()
    assert json.loads((await call("add", "jobs", "-o", "json")).out) == {"waitgroup": "jobs", "delta": 1, "counter": 1}
    status = yaml.safe_load((await call("status", "jobs", "-o", "yaml")).out)
    assert (status["counter"], status["phase"], status["holders"]) == (1, "Waiting", [])
    (item,) = json.loads((await call("list", "-o", "json")).out)["items"]
    assert (item["kind"], item["status"]["counter"]) == ("WaitGroup", 1)
    assert (await call("list", "-o", "name")).out == "waitgroups.konductor.io/jobs\n"
    assert "Counter:    1" in (await call("status", "jobs", "-o", "text")).out


async def test_counts_are_bound_to_a_pod_by_its_name(call: Call, group: WaitGroup, api_server: ApiServer):
    """Its status shows who holds what."""
    await group.create()
    assert (await call("add", "jobs", "--holder", "pod/worker-0")).code == 2
    transport = api_server.transport()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "worker-0"},
        "spec": {"containers": [{"name": "main", "image": "worker"}]},
    }
    await transport.send(requests.create(requests.PODS, api_server.namespace, pod))
    await transport.close()
    assert (await call("add", "jobs", "--delta", "2", "--holder", "worker-0")).code == 0
    assert (await call("status", "jobs")).out.splitlines()[-1].split() == ["Pod", "worker-0", "2"]
    assert "name the holder" in (await call("done", "jobs")).err
    assert (await call("done", "jobs", "--holder", "pod/worker-0")).out.endswith("counter 1\n")


async def test_the_verbs_are_kontinues_too(group: WaitGroup, api_server: ApiServer, capsys: pytest.CaptureFixture[str]):
    """With the same codes."""
    await group.create()
    options = ["--kubeconfig", str(api_server.kubeconfig)]
    assert await asyncio.to_thread(main.main, ["waitgroup", "add", "jobs", *options]) == 0
    assert capsys.readouterr().out == "waitgroups.konductor.io/jobs counter 1\n"
    assert await asyncio.to_thread(main.main, ["waitgroup", "done", "missing", *options]) == 2


async def test_a_wait_for_what_is_deleted_ends(call: Call, group: WaitGroup):
    """Not found, at once."""
    await group.create()
    await group.add()
    waiting = asyncio.create_task(call("wait", "jobs"))
    await group.delete()
    assert (await waiting).code == 2


PAGE = Path(__file__).parents[3] / "docs" / "coordination.md"
YAML_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROGRAMS = {
    "koncli": f"""exec {sys.executable} -c 'import sys
from kontinue_engine.cli.koncli import main
sys.exit(main(sys.argv[1:]))' "$@"
""",
    "start-worker": 'echo "$1" >> started\nexec koncli -q waitgroup done batch-jobs\n',
    "do-work": "echo one >> started\n",
}
"""What the containers' commands call: ``koncli``, and an application."""


@pytest.fixture
async def containers(api_server: ApiServer, tmp_path: Path) -> dict[str, list[str]]:
    """The manifests of docs/coordination.md: both WaitGroups exist; returns the commands of the others by name."""
    manifests = [one for text in YAML_BLOCK.findall(PAGE.read_text()) for one in yaml.safe_load_all(text)]
    kinds = {"Job": requests.JOBS, "Deployment": requests.Resource("apps", "v1", "deployments", "Deployment")}
    kinds["WaitGroup"] = requests.WAIT_GROUPS
    transport = api_server.transport()
    for one in manifests:
        request = requests.create(kinds[one["kind"]], api_server.namespace, one)
        # Whoever would run Pods is played by the test.
        is_ours = one["kind"] == "WaitGroup"
        await transport.send(request if is_ours else msgspec.structs.replace(request, query="dryRun=All"))
    await transport.close()
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0]["command"]
        for one in manifests
        if one["kind"] != "WaitGroup"
    }


async def contain(command: list[str], api_server: ApiServer, folder: Path) -> tuple[int, bytes]:
    """Run a container's command as a process; returns exit status and stdout."""
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "KUBECONFIG": str(api_server.kubeconfig)}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said


@pytest.mark.slow
async def test_parallel_job_processing_runs_as_documented(
    containers: dict[str, list[str]], api_server: ApiServer, tmp_path: Path
):
    """One container adds ten, starts ten workers and waits for all of them."""
    status, said = await contain(containers["coordinator"], api_server, tmp_path)
    assert status == 0
    assert b"waitgroups.konductor.io/batch-jobs done" in said.splitlines()
    assert sorted((tmp_path / "started").read_text().split(), key=int) == [str(number) for number in range(1, 11)]


@pytest.mark.slow
async def test_dynamic_workers_run_as_documented(
    containers: dict[str, list[str]], api_server: ApiServer, tmp_path: Path, call: Call
):
    """Each adds itself; who waits for the first add waits for them."""
    waiting = asyncio.create_task(call("wait", "workers", "--for-first-add", "-q"))
    runs = await asyncio.gather(*(contain(containers["worker"], api_server, tmp_path) for _ in range(3)))
    assert [status for status, _ in runs] == [0, 0, 0]
    assert (await waiting).code == 0
    assert (tmp_path / "started").read_text() == "one\n" * 3


async def test_what_was_counted_is_no_failure_though_nobody_could_be_told(group: WaitGroup, api_server: ApiServer):
    """A script that reads of one would count again."""
    await group.create()
    program = "import sys; from kontinue_engine.cli.koncli import main; sys.exit(main())"
    words = ("waitgroup", "add", "jobs", "--kubeconfig", str(api_server.kubeconfig))
    with open("/dev/full", "wb") as full:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, *words, stdout=full)
        assert await process.wait() == 0
    assert (await group.get()).counter == 1
