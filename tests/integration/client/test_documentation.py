"""The programs of docs/client.md run as they stand there, against a worker of their app."""

import os
import re
import subprocess
import sys
from pathlib import Path

from cluster import Cluster

DOCUMENT = Path(__file__).parents[3] / "docs" / "client.md"
BLOCK = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_programs_of_the_clients_page_run(tmp_path: Path, server_kind: str) -> None:
    """A script and a service, in both colours, and one that acts on what runs."""
    for name, code in BLOCK.findall(DOCUMENT.read_text()):
        (tmp_path / name).write_text(code)
    with Cluster(tmp_path / "cluster", "shop:app", app_dir=tmp_path, server=server_kind) as cluster:

        def run(program: str) -> list[str]:
            environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
            done = subprocess.run(
                [sys.executable, program],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.splitlines()

        printed = ["['order-7/0', 'order-7/1']", "['order-8/0']", *["pack Completed"] * 2, "Execution Completed "]
        assert run("script.py") == printed
        assert run("service.py") == ["['order-0/0']"]
        assert run("acting.py") == ["Canceled", "order-9 delivered", "order-10 was picked up"]
