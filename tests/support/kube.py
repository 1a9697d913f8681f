"""Which real control plane tests use: one of their own, an existing cluster, or none.

- ``KONTINUE_TEST_KUBECONFIG=FILE``: the existing cluster of its current context (a user with a bearer token).
- else the programs that ``make kube`` has built, started for the session.
- else tests that need one are skipped, or with ``KONTINUE_REQUIRE_KUBE=1`` fail.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from control_plane import ControlPlane

MODULE = Path(__file__).parents[2] / "tools" / "kube" / "control-plane" / "go.mod"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
PATIENCE_S = 60.0


@dataclasses.dataclass(frozen=True)
class Existing:
    """A cluster that somebody else has started."""

    url: str
    token: str
    ca_file: Path | None
    kubeconfig: Path
    forget_history: None = None


@contextlib.contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane | Existing]:
    """Give the control plane to be used; start and stop it if it is our own."""
    given = os.environ.get("KONTINUE_TEST_KUBECONFIG")
    if given:
        yield _existing(Path(given), folder)
        return
    with own_control_plane(folder) as plane:
        yield plane


@contextlib.contextmanager
def own_control_plane(folder: Path, *, apiserver_options: Sequence[str] = ()) -> Iterator[ControlPlane]:
    """Start a control plane for tests that kill it or count what it does; stop it at the end."""
    programs = program_folder()
    if missing := missing_programs():
        reason = f"no {', '.join(missing)} in {programs}: run make kube"
        if os.environ.get("KONTINUE_REQUIRE_KUBE") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with ControlPlane(folder, programs, apiserver_options=apiserver_options) as plane:
        yield plane


def missing_programs() -> list[str]:
    """Return the programs of the control plane that nobody has built."""
    return [name for name in PROGRAMS if not (program_folder() / name).exists()]


def program_folder() -> Path:
    """Return where the programs of the control plane are kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = re.search(r"k8s\.io/kubernetes v(\S+)$", MODULE.read_text(), re.MULTILINE)
    assert version, f"{MODULE} does not require k8s.io/kubernetes"
    return cache / "kontinue" / "kube" / version[1]


def until(probe: Callable[[], Any], *, what: str) -> Any:
    """Repeat ``probe`` until it raises no OSError (an HTTPError is one)."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return probe()
        except OSError as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {PATIENCE_S:.0f} s in vain until {what}: {error}") from error
            time.sleep(0.05)


@dataclasses.dataclass(frozen=True)
class Access:
    """What a kubeconfig's current context says: address, bearer token, and the certificate to trust (PEM) if any."""

    url: str
    token: str
    ca_pem: str


def read_kubeconfig(path: Path) -> Access:
    """Return the current context; client certificates and plugins are not understood."""
    document = yaml.safe_load(path.read_text())
    context = next(c["context"] for c in document["contexts"] if c["name"] == document["current-context"])
    cluster = next(c["cluster"] for c in document["clusters"] if c["name"] == context["cluster"])
    user = next(u["user"] for u in document["users"] if u["name"] == context["user"])
    data, file = cluster.get("certificate-authority-data"), cluster.get("certificate-authority")
    ca_pem = base64.b64decode(data).decode() if data else (path.parent / file).read_text() if file else ""
    if "token" not in user:
        pytest.fail(f"{path}: tests need a user with a bearer token")
    return Access(cluster["server"], user["token"], ca_pem)


def _existing(kubeconfig: Path, folder: Path) -> Existing:
    access = read_kubeconfig(kubeconfig)
    ca_file = None
    if access.ca_pem:
        ca_file = folder / "ca.crt"
        ca_file.write_text(access.ca_pem)
    return Existing(access.url, access.token, ca_file, kubeconfig)
