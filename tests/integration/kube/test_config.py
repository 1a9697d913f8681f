"""Finding the API server where sockets and processes take part."""

import json
import stat
from pathlib import Path

from kontinue.kube.config import load_config


async def test_a_running_dev_server_is_found_from_a_folder_below(local_server, tmp_path):
    """``kontinue dev`` in a parent folder beats the home's default context, as long as it answers."""
    local_server.server.write_kubeconfig(_dev_kubeconfig(tmp_path))
    below = tmp_path / "project" / "src"
    below.mkdir(parents=True)
    found = load_config(environ={"HOME": str(tmp_path)}, start_dir=below)
    assert found.server.startswith(local_server.url)
    assert found.token == local_server.token


def test_a_stopped_dev_server_is_passed_over(tmp_path):
    """A kubeconfig left behind does not hide the default context, and is named when there is none."""
    dev = _dev_kubeconfig(tmp_path)
    _write(dev, "http://127.0.0.1:1")
    _write(tmp_path / "home" / ".kube" / "config", "http://home")
    assert load_config(environ={"HOME": str(tmp_path / "home")}, start_dir=tmp_path).server == "http://home"


def test_exec_plugins_are_left_to_the_kubernetes_package(tmp_path):
    """An exec plugin's token is used, and asked for again."""
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-plugin"},
    }
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(credential)}'\n")
    plugin.chmod(stat.S_IRWXU)
    user = {"exec": {"apiVersion": credential["apiVersion"], "command": str(plugin), "interactiveMode": "Never"}}
    path = tmp_path / "config"
    _write(path, "http://a", user=user)
    found = load_config(kubeconfig=path, environ={"HOME": str(tmp_path)})
    assert (found.server, found.token) == ("http://a", "from-plugin")
    assert found.token_source is not None
    assert found.token_source() == "from-plugin"


def _dev_kubeconfig(folder: Path) -> Path:
    path = folder / ".kontinue" / "kubeconfig"
    path.parent.mkdir()
    return path


def _write(path: Path, server: str, *, user: dict | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user or {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    }
    path.write_text(json.dumps(document))
