"""The program that README.md starts functions with, against a worker of README.md's app."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from cluster import Cluster

DOCUMENT = (Path(__file__).parents[3] / "README.md").read_text()
PAYMENTS = "class payments:\n    charge = staticmethod('receipt for {}'.format)\n"


def test_the_readmes_program_starts_the_readmes_function(tmp_path: Path, server_kind: str) -> None:
    """Only what the README leaves out is added: the service that is charged, and what a page is."""
    shop, *others = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
    (program,) = [code for code in others if "asyncio.run(main())" in code]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "app.py").write_text(PAYMENTS + shop.replace("-> bytes: ...", "-> bytes: return b'page'"))
    (tmp_path / "program.py").write_text(program)
    with Cluster(tmp_path / "cluster", "shop.app:app", app_dir=tmp_path, server=server_kind) as cluster:
        done = subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    name, result = done.stdout.split()
    assert (name.startswith("fulfil-"), result) == (True, "12")
