"""``pods/log``: which requests are refused, and that the log comes as plain text; a node of the test's own prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api import Api, unique
from api_server import ApiServer
from fake_kubelet import pod_printer
from servers import Server


async def create_pod(api: Api, *containers: str) -> str:
    """Create a Pod and return its name."""
    spec = {"containers": [{"name": name, "image": "busybox"} for name in containers], "restartPolicy": "Never"}
    spec["initContainers"] = [{"name": "first", "image": "busybox"}]
    status, pod = await api.send("POST", api.path("pods"), {"metadata": {"name": unique("pod")}, "spec": spec})
    assert status == 201, pod
    return str(pod["metadata"]["name"])


async def test_a_log_is_plain_text(api: Api, server: Server, tmp_path: Path) -> None:
    """As it was printed, from the container that is named, or from the only one."""
    subject = ApiServer(server.url, server.token, server.ca_file, server.kubeconfig, api.namespace)
    transport = subject.transport()
    async with pod_printer(subject, transport, tmp_path) as printer:
        pod = await create_pod(api, "main")
        await printer.take(pod)
        await printer.print(pod, "first", "second")
        path = api.path("pods", pod, "log")
        assert await api.send("GET", path) == (200, b"first\nsecond\n")
        assert api.headers["content-type"] == "text/plain"
        assert await api.send("GET", f"{path}?container=main&tailLines=1") == (200, b"second\n")
        status, stamped = await api.send("GET", f"{path}?timestamps=true&sinceTime=2020-01-01T00:00:00Z")
        assert status == 200
        assert [line.split(b" ")[1] for line in stamped.splitlines()] == [b"first", b"second"]
        assert await api.send("GET", f"{path}?sinceTime=2100-01-01T00:00:00Z") == (200, b"")
        done = {"status": {"phase": "Succeeded"}}
        await api.send("PATCH", api.path("pods", pod, "status"), done, content_type="application/merge-patch+json")
        assert await api.send("GET", f"{path}?follow=true") == (200, b"first\nsecond\n")
        await api.send("DELETE", f"{api.path('pods', pod)}?gracePeriodSeconds=0")
    await transport.close()


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("", 400, "a container name must be specified for pod POD, choose one of: [first main side]"),
        ("?container=none", 400, "container none is not valid for pod POD"),
        ("?container=main&tailLines=-1", 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("?container=main&tailLines=x", 400, "invalid syntax"),
        ("?container=main&sinceTime=yesterday", 400, "yesterday"),
    ],
)
async def test_a_request_that_cannot_be_meant_is_refused(api: Api, query: str, code: int, message: str) -> None:
    """Before anybody is asked for the log."""
    pod = await create_pod(api, "main", "side")
    status, refused = await api.send("GET", api.path("pods", pod, "log") + query)
    found: dict[str, Any] = refused
    assert (status, message.replace("POD", pod) in found["message"]) == (code, True), refused


async def test_there_is_no_log_of_a_pod_that_is_not_there(api: Api) -> None:
    """By its name."""
    status, refused = await api.send("GET", api.path("pods", "absent", "log"))
    assert (status, refused["message"]) == (404, 'pods "absent" not found')
