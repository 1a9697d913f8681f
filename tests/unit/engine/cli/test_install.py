"""What ``kontinue install --dry-run`` prints without a server; with one, tests/integration/cli proves it."""

from pathlib import Path

import pytest
import yaml

from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.main import main


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server can be found from here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """Its context works in the namespace shop, of a server that is away."""
    path = tmp_path / "config"
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> set[str]:
    """Return the namespaces of what is printed."""
    assert main(["install", "--dry-run", *options]) == exit_codes.OK
    objects = yaml.safe_load_all(capsys.readouterr().out)
    return {one["metadata"]["namespace"] for one in objects if "namespace" in one["metadata"]}


def test_a_dry_run_is_about_the_namespace_that_an_install_would_be_about(
    kubeconfig: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the context, unless another one is named."""
    assert printed(capsys, "--kubeconfig", str(kubeconfig)) == {"shop"}
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    assert printed(capsys) == {"shop"}
    assert printed(capsys, "-n", "other") == {"other"}


def test_a_dry_run_without_a_kubeconfig_is_about_default(capsys: pytest.CaptureFixture[str]) -> None:
    """It needs no server, as in a pipeline that only renders."""
    assert printed(capsys) == {"default"}
    main(["install", "--dry-run"])
    assert "for namespace default" in capsys.readouterr().err


def test_a_dry_run_with_a_kubeconfig_that_is_not_there_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever names one means its namespace."""
    assert main(["install", "--dry-run", "--kubeconfig", "missing"]) == exit_codes.ERROR
    found = capsys.readouterr()
    assert found.out == ""
    assert "missing" in found.err
