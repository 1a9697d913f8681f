"""``kontinue logs`` where Pods print: of Jobs, of functions and, without log files, of workers.

The test plays worker and node.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api import PATIENCE_S, unique
from api_server import ApiServer
from fake_kubelet import pod_printer
from job_answers import end_job, end_pod, pod_of
from kontinue.api import labels
from kontinue.api.v1alpha1 import ExecutionAttempt, Phase
from kontinue.client import Client
from kontinue.kube import requests
from kontinue_engine.kube import played_jobs
from notices import without_notices
from played_worker import PlayedWorker, build

pytestmark = pytest.mark.slow
CONTAINERS = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}


def line_of(execution: Any, text: str) -> str:
    meta = execution.metadata
    time = datetime.now(UTC).isoformat()
    fields = {"event": "output", "execution": meta.name, "uid": meta.uid, "namespace": meta.namespace, "text": text}
    return json.dumps({**fields, "time": time, "stream": "stdout", "level": "info"})


async def test_lines_of_jobs_pods_and_workers_are_read_from_their_pods(api_server: ApiServer, tmp_path: Path) -> None:
    """Once, in the order of time; and followed until the Execution has ended. Lines of others are not shown."""
    transport = api_server.transport()
    namespace = api_server.namespace

    async def start(pod: str) -> None:
        await printer.take(pod)
        await played_jobs.say_running(transport, namespace=namespace, name=pod, container="main", now=datetime.now(UTC))

    worker = PlayedWorker(transport, namespace)
    async with (
        Client.from_kube(transport, namespace) as client,
        pod_printer(api_server, transport, tmp_path) as printer,
    ):
        await worker.register()
        name = (await client.spawn(build, "x")).name
        pod = unique("worker")
        body = {"metadata": {"name": pod}, "spec": CONTAINERS}
        await transport.send(requests.create(requests.PODS, namespace, body))
        await start(pod)
        await worker.write(name, Phase.EXECUTING, attempts=[ExecutionAttempt(number=1, worker=pod)], attempt_count=1)
        execution = await client.get(name)
        other = await client.get((await client.spawn(build, "y")).name)
        await printer.print(pod, "no JSON", line_of(execution, "from the function"), line_of(other, "of another one"))
        meta = execution.metadata
        owner = {"apiVersion": labels.API_VERSION, "kind": "Execution", "name": meta.name, "uid": meta.uid}
        owned = {"labels": {labels.ROOT: name}, "ownerReferences": [owner]}
        job_meta = {"name": unique("job"), **owned}
        body = {"metadata": job_meta, "spec": {"template": {"spec": CONTAINERS}}}
        job = json.loads(await transport.send(requests.create(requests.JOBS, namespace, body)))
        job_pod = await pod_of(api_server, transport, job)
        await start(job_pod)
        await printer.print(job_pod, "from the Job")
        run_pod = unique("run-pod")
        body = {"metadata": {"name": run_pod, **owned}, "spec": CONTAINERS}
        await transport.send(requests.create(requests.PODS, namespace, body))
        await start(run_pod)
        await printer.print(run_pod, "from the Pod")

        async def logs(*options: str) -> asyncio.subprocess.Process:
            command = [sys.executable, "-m", "kontinue_engine.cli", "logs", name, *options]
            kubeconfig = api_server.kubeconfig
            if api_server.ca_file is None:  # beside its kubeconfig are the log files of Jobs, and none of workers
                kubeconfig = tmp_path / "elsewhere" / "kubeconfig"
                kubeconfig.parent.mkdir(exist_ok=True)
                kubeconfig.write_bytes(api_server.kubeconfig.read_bytes())
            return await asyncio.create_subprocess_exec(
                *command,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "KUBECONFIG": str(kubeconfig)},
                cwd=tmp_path,
            )

        def texts(printed: bytes) -> list[str]:
            return [line.partition("| ")[2] for line in printed.decode().splitlines()]

        printed, said = await (await logs()).communicate()
        assert texts(printed) == ["from the function", "from the Job", "from the Pod"], said
        following = await logs("-f")
        assert following.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            first = {texts(await following.stdout.readline())[0] for _ in range(3)}
        assert first == {"from the function", "from the Job", "from the Pod"}
        await printer.print(job_pod, "the Job goes on")
        await end_job(api_server, transport, job)
        async with asyncio.timeout(PATIENCE_S):
            assert texts(await following.stdout.readline()) == ["the Job goes on"]
        await end_pod(transport, namespace, run_pod)
        last_words = [f"last words {number}" for number in range(300)]
        await printer.print(pod, *(line_of(execution, text) for text in last_words))
        await worker.write(name, Phase.COMPLETED, result=[])
        async with asyncio.timeout(PATIENCE_S):
            printed, said = await following.communicate()
        assert (texts(printed), without_notices(said.decode())) == (last_words, "")
        await end_pod(transport, namespace, pod)
    await transport.close()
