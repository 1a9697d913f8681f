"""Bodies in Kubernetes' protobuf, as kubectl and typed Go clients send them for built-in kinds; answers are JSON.

Custom kinds have no protobuf: the local server answers 415; kube-apiserver 1.36.3 panics and drops the connection.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from api import Api

PROTOBUF = "application/vnd.kubernetes.protobuf"
CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "protobuf_bodies.json").read_text())
"""Bytes that kubectl 1.36 sent, and what kube-apiserver 1.36.3 stored of them; uids are written UID."""
_VOLATILE = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "namespace")
_ASSIGNED = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
"""Addresses of a Service, which only a cluster gives."""


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    """Return ``raw`` as the body of a request; every part is shorter than 128 bytes."""
    meta = b"".join(
        bytes([number << 3 | 2, len(text)]) + text.encode() for number, text in ((1, api_version), (2, kind))
    )
    return b"k8s\0\x0a" + bytes([len(meta)]) + meta + b"\x12" + bytes([len(raw)]) + raw


@pytest.mark.parametrize("case", CASES, ids=[f"{case['stored']['kind']}-{index}" for index, case in enumerate(CASES)])
async def test_what_kubectl_creates_is_stored_as_if_it_had_come_as_json(api: Api, case: dict[str, Any]) -> None:
    """No zero value of the wire is stored that JSON would not have carried; pointers to zero stay."""
    namespaced = case["plural"].rpartition("/")[2] not in {"clusterroles", "priorityclasses"}
    path = api.path(case["plural"], namespace=None if namespaced else "") + "?dryRun=All"
    status, stored = await api.send(
        "POST", path, base64.b64decode(case["bytes"]), content_type=PROTOBUF, Accept="application/json"
    )
    assert status == 201, stored
    uid = stored["metadata"]["uid"]
    for key in _VOLATILE:
        stored["metadata"].pop(key, None)
    if stored["kind"] == "Service":
        for key in _ASSIGNED:
            stored["spec"].pop(key, None)
        for port in stored["spec"].get("ports", ()):
            port.pop("nodePort", None)
    assert json.loads(json.dumps(stored).replace(uid, "UID")) == case["stored"]


async def test_a_protobuf_update_replaces_the_object(api: Api) -> None:
    """A PUT carries the whole object; without a resourceVersion it replaces whatever there is."""
    raw = b"\x0a\x03\x0a\x01a\x12\x06\x0a\x01k\x12\x01v"  # metadata.name a, data k: v
    body = envelope("v1", "ConfigMap", raw)
    status, created = await api.send(
        "POST", api.path("configmaps"), body, content_type=PROTOBUF, Accept="application/json"
    )
    assert (status, created["data"]) == (201, {"k": "v"})
    changed = envelope("v1", "ConfigMap", raw[:-1] + b"w")
    status, updated = await api.send(
        "PUT", api.path("configmaps", "a"), changed, content_type=PROTOBUF, Accept="application/json"
    )
    assert (status, updated["data"]) == (200, {"k": "w"})


async def test_options_of_a_delete_may_be_protobuf(api: Api) -> None:
    """Typed Go clients send them so, for any kind; preconditions hold."""
    await api.send("POST", api.path("configmaps"), {"metadata": {"name": "a"}})
    precondition = b"\x12\x06\x0a\x04none"  # preconditions.uid
    options = envelope("v1", "DeleteOptions", precondition)
    path = api.path("configmaps", "a")
    status, refused = await api.send("DELETE", path, options, content_type=PROTOBUF, Accept="application/json")
    assert (status, refused["reason"]) == (409, "Conflict")
    options = envelope("v1", "DeleteOptions", b"\x22\x0aBackground")
    status, _ = await api.send("DELETE", path, options, content_type=PROTOBUF, Accept="application/json")
    assert status == 200
    assert (await api.send("GET", path))[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"k8s",
        b"{}",
        envelope("v1", "ConfigMap", b"\x0a\x05\x0a"),
        envelope("v1", "ConfigMap", b"\xff"),
        envelope("v1", "ConfigMap", b"\x0a\x03\x0a\x01\xff")[:-3],
        envelope("v1", "Unheard", b""),
        envelope("v1", "Secret", b"\x0a\x03\x0a\x01a"),
    ],
)
async def test_a_broken_or_other_message_is_a_bad_request(api: Api, body: bytes) -> None:
    """Whatever is wrong with it: the magic, a length, the kind."""
    status, refused = await api.send(
        "POST", api.path("configmaps"), body, content_type=PROTOBUF, Accept="application/json"
    )
    assert (status, refused["reason"]) == (400, "BadRequest")
