"""Two worker groups in one namespace: each runs its own functions, and children cross over."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from cluster import Cluster
from kontinue.client import Client, ClientOptions

HERE = Path(__file__).parent
SOON = timedelta(seconds=30)

pytestmark = pytest.mark.slow


async def test_children_run_in_the_group_that_owns_their_function(tmp_path: Path, server_kind: str) -> None:
    """The parent gets their results; a function that nobody owns is an error at the call."""
    with Cluster(tmp_path, "chaos_app:app", app_dir=HERE, server=server_kind) as cluster:
        command = [sys.executable, "-m", "kontinue_engine.worker", "remote_app:app", "--app-dir", str(HERE)]
        with (tmp_path / "callers.log").open("wb") as log:
            callers = subprocess.Popen([*command, "--kubeconfig", str(cluster.kubeconfig)], stdout=log, stderr=log)
        try:
            async with Client(ClientOptions(kubeconfig=str(cluster.kubeconfig), qps=None)) as client:
                while len(await client.functions()) < 5:
                    pass
                parent = await client.spawn("call", {"count": 5}, result=int)
                assert await parent.result(timeout=SOON) == 5
                children = await client.get_child_executions(parent.name)
                groups = {child.metadata.labels["kontinue.cloud/worker-group"] for child in children}
                assert (len(children), groups) == (5, {"chaos"})
                lonely = await client.spawn("call_nobody", {}, result=str)
                assert (await lonely.result(timeout=SOON)).endswith("UnknownFunction")
        finally:
            callers.terminate()
            callers.wait(20)
