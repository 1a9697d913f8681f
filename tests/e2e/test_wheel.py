"""What pip installs is complete: the wheel works without the repository around it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and unpack it, as an installer does with pure Python."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_both_packages_and_nothing_of_the_repository(installed: Path) -> None:
    """No tests, no tools, no second copy under another name; types are marked as such."""
    assert {path.name.split("-")[0] for path in installed.iterdir()} == {"kontinue", "kontinue_engine"}
    for package in ("kontinue", "kontinue_engine"):
        assert (installed / package / "py.typed").exists()
    assert (installed / "kontinue_engine" / "apiserver" / "crds" / "execution.yaml").exists()
    assert (installed / "kontinue_engine" / "cli" / "skeleton" / "app.py.in").exists()
    (licenses,) = installed.glob("kontinue-*.dist-info/licenses")
    assert {path.name for path in licenses.iterdir()} == {"LICENSE", "NOTICE"}


def test_an_api_server_from_the_wheel_knows_our_kinds_and_those_of_kubernetes(installed: Path, tmp_path: Path) -> None:
    """The CRDs come with the package, and so do the types and schemas of built-in kinds."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "kontinue_engine.apiserver", "--data-dir", str(tmp_path), "--port", "0"]
    server = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        ready = json.loads(server.stdout.readline())
        token = (tmp_path / "kubeconfig").read_text().split("token: ")[1].split()[0]

        def asked(path: str, body: Any = None) -> Any:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(ready["url"] + path, data=data, headers=headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)

        kinds = {resource["kind"] for resource in asked("/apis/kontinue.cloud/v1alpha1")["resources"]}
        assert {"Execution", "Function"} <= kinds
        secret = asked("/api/v1/namespaces/default/secrets", {"metadata": {"name": "a"}, "stringData": {"a": "b"}})
        assert (secret["type"], secret["data"]) == ("Opaque", {"a": "Yg=="})
        assert "io.k8s.api.core.v1.Secret" in asked("/openapi/v3/api/v1")["components"]["schemas"]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        if server.stdout is not None:
            server.stdout.close()


def test_the_command_line_from_the_wheel_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """Nothing is imported from elsewhere."""
    code = (
        "import sys, kontinue, kontinue_engine.cli.main as m; print(kontinue.__file__, m.__file__); m.main(['version'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.count(str(installed)) == 2, done.stdout + done.stderr
