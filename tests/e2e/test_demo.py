"""``make demo`` keeps its promise, and kubectl shows its Executions while it runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KUBECONFIG = ROOT / ".demo" / "state" / "kubeconfig"
KUBECTL = Path(sys.executable).parent / "kubectl"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def kubectl(home: Path, *arguments: str) -> str:
    environment = {**os.environ, "KUBECONFIG": str(KUBECONFIG), "HOME": str(home)}
    done = subprocess.run(
        [str(KUBECTL), *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_survives_what_it_kills_and_kubectl_sees_it(tmp_path: Path) -> None:
    """Equal counts with and without kills; kubectl lists, describes and watches meanwhile; exit status 0."""
    shutil.rmtree(KUBECONFIG.parent, ignore_errors=True)  # of an earlier demo
    output = (tmp_path / "output").open("w+")
    demo = subprocess.Popen([sys.executable, str(ROOT / "tools" / "demo.py")], stdout=output, stderr=output)
    try:
        listed = ""
        while "Executing" not in listed and demo.poll() is None:
            time.sleep(0.2)
            listed = kubectl(tmp_path, "get", "executions") if KUBECONFIG.exists() else ""
        assert re.search(r"^NAME +FUNCTION +PHASE ", listed), listed
        root = kubectl(tmp_path, "get", "executions", "-l", "!kontinue.cloud/parent", "-o", "name").split()[0]
        described = kubectl(tmp_path, "describe", root)
        assert re.search(r"Function: +index", described)
        watch = [str(KUBECTL), "get", "executions", "-w", "--request-timeout=4s", "--no-headers"]
        environment = {**os.environ, "KUBECONFIG": str(KUBECONFIG), "HOME": str(tmp_path)}
        watched = subprocess.run(watch, env=environment, capture_output=True, text=True, check=False).stdout
        assert watched.count("Completed") >= 5, watched
        assert demo.wait(300) == 0
    finally:
        demo.terminate()
        demo.wait(30)
        output.seek(0)
        text = output.read()
        output.close()
    assert "SIGKILL" in text
    assert text.count("resumed") >= 2, text
    for report in ("report.md", "report.svg"):
        assert list((ROOT / ".demo").rglob(report))
