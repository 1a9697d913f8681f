"""A real Kubernetes control plane for tests: etcd, kube-apiserver and kube-controller-manager as processes.

``tools/kube/build.py`` builds the programs. ``ControlPlane`` starts them in a folder on free ports of loopback, each in
one process group, and ends them; when something does not come up, the error carries the end of its log. They die with
the thread that started them (the main one), however the tests end.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from kontinue_engine.processes import die_with_parent
from ports import free_port

READY_S = 60.0
TOKEN = "test-admin-token"
"""Of the user ``admin`` in the group system:masters."""


class ControlPlane:
    """Processes by name, and what clients need: ``url``, ``token``, ``ca_file``, ``kubeconfig``.

    Args:
        data_dir: of everything.
        programs: folder of the programs.
        token: of the administrator.
        apiserver_options: further ones of kube-apiserver; they win over ours.
    """

    def __init__(
        self, data_dir: Path, programs: Path, *, token: str = TOKEN, apiserver_options: Sequence[str] = ()
    ) -> None:
        self.data_dir = data_dir
        self.token = token
        self.kubeconfig = data_dir / "kubeconfig"
        self.ca_file = data_dir / "certs" / "apiserver.crt"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._programs = programs
        self._apiserver_options = apiserver_options
        self._etcd_port, self._peer_port, self._port = free_port(), free_port(), free_port()
        self.url = f"https://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until it answers."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._write_files()
        self.start_etcd()
        self.start_apiserver()
        self._await("kube-apiserver", lambda: self.get("/api/v1/namespaces/default"))
        self._start("kube-controller-manager", *self._controller_manager_options())

    def forget_history(self) -> None:
        """Let etcd compact everything before now, and tell kube-apiserver, which keeps states in memory too."""
        revision = self._etcd("range", key="compact_rev_key")["header"]["revision"]
        self._etcd("put", key="compact_rev_key", value=revision)
        self._etcd("compaction", revision=revision)

    def _etcd(self, verb: str, *, revision: str = "", **texts: str) -> Any:
        encoded = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
        body = json.dumps({**encoded, **({"revision": revision} if revision else {})}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self._etcd_port}/v3/kv/{verb}", body, timeout=30) as answer:
            return json.loads(answer.read())

    def stop(self) -> None:
        """End every process, the ones that use others first."""
        for name in ("kube-controller-manager", "kube-apiserver", "etcd"):
            self.kill(name)

    def start_etcd(self) -> None:
        """Start etcd and wait until it answers."""
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._peer_port}"
        self._start(
            "etcd",
            f"--data-dir={self.data_dir / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        )
        self._await("etcd", lambda: urllib.request.urlopen(f"{client}/health", timeout=5).read())

    def start_apiserver(self) -> None:
        """Start kube-apiserver and wait until it answers."""
        folder = self.data_dir
        self._start(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            f"--cert-dir={folder / 'certs'}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._port}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            f"--token-auth-file={folder / 'tokens.csv'}",
            f"--service-account-issuer={self.url}/",
            f"--service-account-key-file={folder / 'service-accounts.pem'}",
            f"--service-account-signing-key-file={folder / 'service-accounts.pem'}",
            "--endpoint-reconciler-type=none",
            "--enable-priority-and-fairness=false",
            "--max-requests-inflight=0",
            "--max-mutating-requests-inflight=0",
            "--profiling=false",
            "--v=1",
            *self._apiserver_options,
        )
        self._await("kube-apiserver", lambda: self.get("/readyz"))

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to the process group of ``name``; SIGKILL and SIGTERM also wait for its end."""
        process = self.processes.get(name)
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, number)
        if number in {signal.SIGKILL, signal.SIGTERM}:
            process.wait(30)

    def get(self, path: str) -> bytes:
        """Return the body of a GET by the administrator."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return bytes(answer.read())

    def log(self, name: str) -> str:
        """Return the end of a process's log."""
        return (self.data_dir / f"{name}.log").read_text(errors="replace")[-4000:]

    def _write_files(self) -> None:
        (self.data_dir / "tokens.csv").write_text(f'{self.token},admin,admin,"system:masters"\n')
        key = self.data_dir / "service-accounts.pem"
        if not key.exists():
            subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin", "namespace": "default"}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(yaml.safe_dump(document))
        self.kubeconfig.chmod(0o600)

    def _controller_manager_options(self) -> list[str]:
        controllers = (
            "garbagecollector,namespace,job,cronjob,ttl-after-finished,deployment,replicaset,statefulset,disruption,"
            "serviceaccount"
        )
        return [
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--use-service-account-credentials=false",
            f"--service-account-private-key-file={self.data_dir / 'service-accounts.pem'}",
            f"--root-ca-file={self.ca_file}",
            f"--controllers={controllers}",
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            "--concurrent-gc-syncs=5",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
        ]

    def _start(self, name: str, *options: str) -> None:
        with (self.data_dir / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(self._programs / name), *options],
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=functools.partial(die_with_parent, os.getpid()),
            )

    def _await(self, name: str, probe: Any) -> None:
        deadline = time.monotonic() + READY_S
        while True:
            try:
                probe()
            except OSError as error:
                if self.processes[name].poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{name} is not ready ({error}):\n{self.log(name)}") from error
                time.sleep(0.05)
            else:
                return
