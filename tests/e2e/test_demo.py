"""``make demo`` keeps its promise, and kubectl shows its Executions while it runs."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEV_KUBECONFIG = ROOT / ".demo" / "state" / "kubeconfig"
KUBECTL = Path(sys.executable).parent / "kubectl"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def kubectl(kubeconfig: Path, home: Path, *arguments: str) -> str:
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(home)}
    done = subprocess.run(
        [str(KUBECTL), *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def target(server_kind: str, request: pytest.FixtureRequest) -> tuple[Path, list[str]]:
    """The kubeconfig of the server that the demo uses, and the demo's options."""
    if server_kind == "local":
        shutil.rmtree(DEV_KUBECONFIG.parent, ignore_errors=True)  # of an earlier demo
        return DEV_KUBECONFIG, []
    kubeconfig = request.getfixturevalue("api_server").kubeconfig
    return kubeconfig, ["--kubeconfig", str(kubeconfig)]


def test_the_demo_survives_what_it_kills_and_kubectl_sees_it(tmp_path: Path, target: tuple[Path, list[str]]) -> None:
    """Equal counts with and without kills; kubectl lists, describes and watches meanwhile; exit status 0."""
    kubeconfig, options = target
    output = (tmp_path / "output").open("w+")
    demo = subprocess.Popen([sys.executable, str(ROOT / "tools" / "demo.py"), *options], stdout=output, stderr=output)
    try:
        listed = ""
        while "Executing" not in listed and demo.poll() is None:
            time.sleep(0.2)
            listed = kubectl(kubeconfig, tmp_path, "get", "executions") if kubeconfig.exists() else ""
        assert re.search(r"^NAME +FUNCTION +PHASE ", listed), listed
        roots = ("get", "executions", "-l", "!kontinue.cloud/parent", "-o", "name")
        root = kubectl(kubeconfig, tmp_path, *roots).split()[0]
        described = kubectl(kubeconfig, tmp_path, "describe", root)
        assert re.search(r"Function: +index", described)
        watch = [str(KUBECTL), "get", "executions", "-w", "--request-timeout=120s", "--no-headers"]
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path)}
        with subprocess.Popen(watch, env=environment, stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdout is not None
            completed = list(itertools.islice((line for line in watching.stdout if "Completed" in line), 5))
            watching.kill()
        assert len(completed) == 5
        demo.wait(1200)
    finally:
        demo.terminate()
        demo.wait(60)
        output.seek(0)
        text = output.read()
        output.close()
    assert demo.returncode == 0, text
    assert "SIGKILL" in text
    assert text.count("resumed") >= 2, text
    for report in ("report.md", "report.svg"):
        assert list((ROOT / ".demo").rglob(report))
