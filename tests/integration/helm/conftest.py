"""A control plane that writes down what service accounts ask for, and sorts requests into flows, as real ones do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import kube
from control_plane import ControlPlane
from servers import CRDS, Server, install_crd

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
}


@dataclasses.dataclass(frozen=True)
class Asked:
    """One request of a service account.

    Attributes:
        user: ``system:serviceaccount:NAMESPACE:NAME``.
        verb: as in a Role.
        resource: group, and resource with its subresource, as in a Role.
        namespace: empty for those without.
        status: of the answer.
    """

    user: str
    verb: str
    resource: tuple[str, str]
    namespace: str
    status: int


@dataclasses.dataclass(frozen=True)
class AuditedPlane:
    """A control plane with kontinue's CRDs.

    Attributes:
        plane: its processes.
        server: what requests of an administrator go to.
        audit_log: JSON lines.
    """

    plane: ControlPlane
    server: Server
    audit_log: Path

    def asked_by(self, user: str) -> list[Asked]:
        """Return everything that a user has asked for so far."""
        found = []
        with self.audit_log.open() as lines:
            for event in map(json.loads, (line for line in lines if line.endswith("\n"))):
                if event["user"]["username"] != user:
                    continue
                about = event.get("objectRef", {})
                resource = "/".join(filter(None, [about.get("resource"), about.get("subresource")]))
                found.append(
                    Asked(
                        user=user,
                        verb=event["verb"],
                        resource=(about.get("apiGroup", ""), resource or event["requestURI"]),
                        namespace=about.get("namespace", ""),
                        status=event["responseStatus"]["code"],
                    )
                )
        return found


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuditedPlane]:
    """One control plane for the tests of the chart."""
    folder = tmp_path_factory.mktemp("audited")
    policy, log = folder / "policy.yaml", folder / "audit.log"
    policy.write_text(yaml.safe_dump(POLICY))
    options = [f"--audit-policy-file={policy}", f"--audit-log-path={log}", "--enable-priority-and-fairness=true"]
    options += ["--max-requests-inflight=400", "--max-mutating-requests-inflight=200"]
    with kube.own_control_plane(folder / "plane", apiserver_options=options) as plane:
        server = Server("kube", plane.url, plane.token, plane.ca_file, plane.kubeconfig)
        for file in sorted(CRDS.glob("*.yaml")):
            install_crd(server, yaml.safe_load(file.read_text()))
        yield AuditedPlane(plane, server, log)
