"""Requests made from the server's own OpenAPI documents: each is answered, and never by a fault of the server's.

One test for each document; ``KONTINUE_FUZZ_EXAMPLES`` says how many requests it makes for each operation, and then of
every kind: those with a pod in them are left out otherwise, as their schemas take seconds to make anything from
(``test_fuzz`` sends some). Every request is sent as schemathesis made it, with data that the schema allows or (where
many are made) does not, and again with kind, name and options put right, to get past the first checks.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kontinue_engine.apiserver.discovery.openapi import OpenApi
from kontinue_engine.apiserver.registry import Registry, load_crds
from server_process import ServerProcess

EXAMPLES = int(os.environ.get("KONTINUE_FUZZ_EXAMPLES", "1"))
IS_THOROUGH = EXAMPLES > 1
ANSWER_S = 60.0
ROOTS = sorted(
    OpenApi(Registry(load_crds()).resources).build_index()["paths"], key=lambda root: "apiextensions" in root
)
"""That of definitions at the end: what it deletes, the others need."""
POD = "io.k8s.api.core.v1.PodSpec"
METHODS = ("post", "put", "patch", "get", "delete")
"""In the order in which there is most to find."""
OPTIONS = {
    "dryRun",
    "fieldValidation",
    "fieldManager",
    "limit",
    "continue",
    "resourceVersionMatch",
    "propagationPolicy",
}
"""Query parameters of which few values make sense."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    yield process
    assert process.is_running
    assert process.stop(signal.SIGTERM) == 0


@pytest.fixture(scope="module")
def session(server: ServerProcess) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {server.token}"
        yield session


def fetch(session: requests.Session, url: str) -> Any:
    return session.get(url, timeout=ANSWER_S).json()


def needs(document: dict[str, Any], schema: Any) -> set[str]:
    """Return the names of all schemas that ``schema`` refers to."""
    found: set[str] = set()
    new = referred(schema)
    while new:
        found |= new
        new = {below for name in new for below in referred(document["components"]["schemas"][name])} - found
    return found


def referred(schema: Any) -> set[str]:
    return set(re.findall('"#/components/schemas/([^"]+)"', json.dumps(schema)))


def aimed(case: Any) -> Any:
    """Put right what is looked at first; a watch is over at once."""
    kind = case.operation.definition.raw["x-kubernetes-group-version-kind"]
    if isinstance(case.body, dict) and case.method in {"POST", "PUT"}:
        api_version = "/".join(filter(None, (kind["group"], kind["version"])))
        metadata = case.body.get("metadata")
        labels = metadata.get("labels") if isinstance(metadata, dict) else None
        case.body |= {"apiVersion": api_version, "kind": kind["kind"], "metadata": {"name": "a", "labels": labels}}
    case.query = {name: value for name, value in (case.query or {}).items() if name not in OPTIONS}
    return case


def check(session: requests.Session, url: str, case: Any) -> None:
    """Demand an answer that is no fault of the server's."""
    if "watch" in (case.query or {}):
        case.query["timeoutSeconds"] = -1
    answer = case.call(base_url=url, session=session, timeout=ANSWER_S)
    told = (case.method, case.formatted_path, case.query, case.body, answer.status_code, answer.content[:2000])
    assert answer.status_code < 500 or answer.status_code == 504, told
    if answer.status_code >= 400 and not answer.content.startswith(b"404 page"):
        status = orjson.loads(answer.content)
        assert (status["kind"], status["code"]) == ("Status", answer.status_code), told


@pytest.mark.slow
@pytest.mark.parametrize("root", ROOTS)
def test_every_operation_of_a_document_answers_whatever_fits_it(
    server: ServerProcess, session: requests.Session, root: str
) -> None:
    """Schemathesis can load the document; no operation fails, and the server is well afterwards."""
    paths = fetch(session, f"{server.url}/openapi/v3")["paths"]
    document = fetch(session, server.url + paths[root]["serverRelativeURL"])
    modes = list(schemathesis.GenerationMode) if IS_THOROUGH else [schemathesis.GenerationMode.POSITIVE]
    operations = [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]
    assert {(one.path, one.method) for one in operations} == {
        (path, method) for path, operations in document["paths"].items() for method in METHODS if method in operations
    }
    for operation in sorted(operations, key=lambda one: METHODS.index(one.method)):
        body = operation.definition.raw.get("requestBody", {})
        if not IS_THOROUGH and POD in needs(document, body):
            continue
        names = {"namespace": "default", "name": "a"}
        given_names = {
            one["name"]: names[one["name"]]
            for one in operation.definition.raw.get("parameters", ())
            if one["in"] == "path"
        }
        cases = st.one_of([operation.as_strategy(mode, path_parameters=given_names or None) for mode in modes])

        @settings(
            max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
        )
        @given(case=cases)
        def send(case: Any) -> None:
            check(session, server.url, case)
            check(session, server.url, aimed(case))

        send()
    assert session.get(f"{server.url}/readyz", timeout=ANSWER_S).text == "ok"
