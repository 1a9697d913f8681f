"""Whatever clients send: no 500, no hang, no crash, and the connection stays usable or is closed in order.

``KONTINUE_FUZZ_EXAMPLES`` says how many requests each test makes up (a few hundred in CI). Requests are valid ones with
parts replaced, because noise alone never gets past the first check. What was found once is a test beside the module
that was wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import orjson
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from kontinue_engine.apiserver.reads import reading

EXAMPLES = int(os.environ.get("KONTINUE_FUZZ_EXAMPLES", "150"))
ANSWER_S = 60.0
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

EXECUTIONS = "/apis/kontinue.cloud/v1alpha1/namespaces/default/executions"
COLLECTIONS = {
    EXECUTIONS: ("kontinue.cloud/v1alpha1", "Execution"),
    "/apis/kontinue.cloud/v1alpha1/namespaces/default/functions": ("kontinue.cloud/v1alpha1", "Function"),
    "/api/v1/namespaces/default/configmaps": ("v1", "ConfigMap"),
    "/api/v1/namespaces/default/secrets": ("v1", "Secret"),
    "/api/v1/namespaces/default/events": ("v1", "Event"),
    "/api/v1/namespaces/default/pods": ("v1", "Pod"),
    "/apis/batch/v1/namespaces/default/jobs": ("batch/v1", "Job"),
    "/apis/apps/v1/namespaces/default/deployments": ("apps/v1", "Deployment"),
    "/apis/coordination.k8s.io/v1/namespaces/default/leases": ("coordination.k8s.io/v1", "Lease"),
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
}


class Connection:
    """Raw HTTP over one connection, opened again when the server has closed it."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Send one request; the answer is whole, or this fails."""
        sent = {"Host": "x", "Authorization": f"Bearer {self._token}", "Content-Length": str(len(body)), **headers}
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        return await self.ask_raw(head.encode("latin-1") + b"\r\n" + body, has_body=method != "HEAD")

    async def ask_raw(self, request: bytes, *, has_body: bool = True) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2**26)
        reader, writer = self._streams
        writer.write(request)
        async with asyncio.timeout(ANSWER_S):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            if not has_body:
                text = b""
            elif fields.get("transfer-encoding") == "chunked":
                text = b""
                while size := int(await reader.readline(), 16):
                    text += await reader.readexactly(size)
                    assert await reader.readline() == b"\r\n"
                assert await reader.readline() == b"\r\n"
            else:
                text = await reader.readexactly(int(fields["content-length"]))
            if fields.get("connection") == "close":
                assert await reader.read() == b""
                await self.close()
        return int(lines[0].split(" ")[1]), text

    async def check(self, method: str, target: str, headers: dict[str, str], body: bytes) -> int:
        """Send one request, demand an answer that is no fault of the server's, and that it answers the next one."""
        status, text = await self.ask(method, target, headers, body)
        assert status < 500 or status == 504, (method, target, headers, body, text)
        if status >= 400 and method != "HEAD" and not text.startswith(b"404 page"):
            document = orjson.loads(text)
            assert (document["kind"], document["code"]) == ("Status", status)
        assert await self.ask("GET", "/readyz", {}, b"") == (200, b"ok")
        return status

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@pytest.fixture
async def connection(local_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(reading, "FUTURE_REVISION_WAIT_S", 0.001)
    connection = Connection(local_server.server.port, local_server.token)
    yield connection
    await connection.close()


def words(text: str) -> list[str]:
    return text.split()


# -- what is sent -----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        "a",
        "b",
        "metadata",
        "name",
        "spec",
        "status",
        "labels",
        "items",
        "kind",
        "uid",
        "0",
        "-",
        "",
        "é",
        "🙂",
        "a\r\nb",
    ]
)
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**63, 2**64, -(2**63) - 1, 1e308, -0.0, 0.5]),
    st.text(max_size=6),
    st.sampled_from(["", "a" * 300, "\0", "\ud7ff", "a/b", "../x", "2026-01-01T00:00:00Z", "1h", "0x0", "=", "🙂"]),
)
TREES = st.recursive(
    JUNK, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every node."""
    yield path
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in children:
        yield from places(value, (*path, key))


def replaced(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy: Any = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = replaced(copy[path[0]], path[1:], value)
    return copy


@st.composite
def mutated(draw: st.DrawFn, tree: Any) -> Any:
    """A document with up to three parts replaced by something else."""
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list(places(tree))))
        tree = replaced(tree, path, draw(TREES))
    return tree


def document(collection: str, name: str) -> dict[str, Any]:
    api_version, kind = COLLECTIONS[collection]
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    specs: dict[str, Any] = {
        "Execution": {
            "function": "hello",
            "arguments": {"a": [1, {"b": None}]},
            "retry": {"retries": 1, "backoff": "5s"},
        },
        "Function": {"name": "hello", "workerGroup": "g"},
        "Pod": template["spec"],
        "Job": {"template": template, "backoffLimit": 1},
        "Deployment": {"selector": {"matchLabels": {"app": "x"}}, "template": template, "replicas": 1},
        "Lease": {"holderIdentity": "x", "renewTime": "2026-01-01T00:00:00.000000Z", "leaseDurationSeconds": 10},
        "CustomResourceDefinition": {
            "group": "example.com",
            "names": names,
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u", "controller": True}
    metadata = {
        "name": "things.example.com" if kind == "CustomResourceDefinition" else name,
        "labels": {"a": "b", "kontinue.cloud/x": "y"},
        "annotations": {"n": "v"},
        "finalizers": ["example.com/f"],
        "ownerReferences": [owner],
    }
    body: dict[str, Any] = {"apiVersion": api_version, "kind": kind, "metadata": metadata}
    if kind in specs:
        body["spec"] = specs[kind]
    if kind in {"ConfigMap", "Secret"}:
        body |= {"data": {"k": "dmFsdWU="}}
    if kind == "Secret":
        body |= {"stringData": {"s": "x"}}
    if kind == "Event":
        body |= {"involvedObject": {"name": "x"}, "lastTimestamp": "2026-01-01T00:00:00Z", "series": {"count": 1}}
    if kind == "Execution":
        body |= {"status": {"phase": "Executing", "attempts": {"count": 1}, "conditions": []}}
    return body


SELECTORS = st.one_of(
    st.text(alphabet="ab=!(),. <>/-_\\in", max_size=20),
    st.lists(
        st.sampled_from(["a", "a/b", "in", "notin", "(", ")", ",", "=", "==", "!=", "!", " ", "x", "metadata.name"]),
        max_size=12,
    ).map("".join),
)
PARAMETERS = st.dictionaries(
    st.sampled_from(
        [
            "labelSelector",
            "fieldSelector",
            "limit",
            "continue",
            "resourceVersion",
            "resourceVersionMatch",
            "timeoutSeconds",
            "watch",
            "allowWatchBookmarks",
            "sendInitialEvents",
            "dryRun",
            "fieldValidation",
            "fieldManager",
            "force",
            "propagationPolicy",
            "pretty",
            "gracePeriodSeconds",
            "orphanDependents",
            "includeObject",
            "shardSelector",
        ]
    ),
    st.one_of(
        SELECTORS,
        st.sampled_from(
            [
                "0",
                "1",
                "-1",
                "true",
                "false",
                "All",
                "Exact",
                "NotOlderThan",
                "Strict",
                "Ignore",
                "Warn",
                "Background",
                "Foreground",
                "Orphan",
                "None",
                "Object",
                "Metadata",
                "1e3",
                "99999999999999999999",
                "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0",
                "metadata.name=a",
                "a=b",
            ]
        ),
        st.text(max_size=5),
    ),
    max_size=4,
)
ACCEPTS = st.sampled_from(
    [
        "*/*",
        "",
        "application/json",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        "application/vnd.kubernetes.protobuf,application/json",
        "application/yaml",
        "text/html;q=0.9",
        ";;;,,,",
        "application/json;as=Table;v=v9;g=x",
    ]
)
CONTENT_TYPES = st.sampled_from(
    [
        "application/json",
        "",
        "application/yaml",
        JSON_PATCH,
        MERGE_PATCH,
        STRATEGIC_PATCH,
        APPLY_PATCH,
        "application/vnd.kubernetes.protobuf",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "x",
    ]
)
SEGMENTS = st.sampled_from(
    [
        "api",
        "apis",
        "v1",
        "kontinue.cloud",
        "v1alpha1",
        "namespaces",
        "default",
        "executions",
        "configmaps",
        "pods",
        "status",
        "scale",
        "a",
        "b",
        "watch",
        "openapi",
        "v3",
        "v2",
        "batch",
        "apps",
        "metrics",
        "healthz",
        "version",
        "finalize",
        "log",
        "backup",
        "eviction",
        "binding",
    ]
) | st.text(max_size=4)


def json_of(tree: Any) -> bytes:
    """Return JSON, with numbers of any size."""
    return json.dumps(tree).encode()


def query_of(parameters: dict[str, str]) -> str:
    # A watch that nobody ends would last for half an hour.
    if parameters:
        parameters = {**parameters, "timeoutSeconds": "1"} if "watch" in parameters else parameters
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())


# -- tests ------------------------------------------------------------------------------------------------------------


@fuzz
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]),
    segments=st.lists(SEGMENTS, max_size=8),
    parameters=PARAMETERS,
    accept=ACCEPTS,
    content_type=CONTENT_TYPES,
    tree=TREES,
)
async def test_any_path_is_answered(
    connection: Connection,
    method: str,
    segments: list[str],
    parameters: dict[str, str],
    accept: str,
    content_type: str,
    tree: Any,
) -> None:
    """With any method, parameters, headers and body."""
    target = "/" + "/".join(quote(segment, safe="") for segment in segments) + "?" + query_of(parameters)
    await connection.check(method, target, {"Accept": accept, "Content-Type": content_type}, json_of(tree))


@fuzz
@given(
    collection=st.sampled_from(list(COLLECTIONS)),
    name=st.sampled_from(["", "", "/a", "/b", "/a/status", "/a/scale"]),
    parameters=PARAMETERS,
    accept=ACCEPTS,
)
async def test_any_read_is_answered(
    connection: Connection, collection: str, name: str, parameters: dict[str, str], accept: str
) -> None:
    """Lists, watches and gets, with any selector, limit, token and form."""
    await connection.check("GET", f"{collection}{name}?{query_of(parameters)}", {"Accept": accept}, b"")


@fuzz
@given(data=st.data(), collection=st.sampled_from(list(COLLECTIONS)), parameters=PARAMETERS, is_yaml=st.booleans())
async def test_any_object_is_created_replaced_or_refused(
    connection: Connection, data: st.DataObject, collection: str, parameters: dict[str, str], is_yaml: bool
) -> None:
    """Parts of a valid object replaced; then read in every form, and deleted."""
    body = data.draw(mutated(document(collection, "fuzz")))
    content = yaml.safe_dump(body).encode() if is_yaml else json_of(body)
    headers = {"Content-Type": "application/yaml" if is_yaml else "application/json"}
    query = query_of({name: value for name, value in parameters.items() if name != "watch"})
    await connection.check("POST", f"{collection}?{query}", headers, content)
    name = document(collection, "fuzz")["metadata"]["name"]
    path = f"{collection}/{name}"
    for target in (path, f"{path}/status"):
        again = data.draw(mutated(document(collection, "fuzz")))
        await connection.check("PUT", f"{target}?{query}", headers, json_of(again))
    for accept in ("*/*", "application/json;as=Table;v=v1;g=meta.k8s.io"):
        await connection.check("GET", collection, {"Accept": accept}, b"")
    options = data.draw(mutated({"propagationPolicy": "Background", "preconditions": {"uid": "x"}, "dryRun": ["All"]}))
    await connection.check("DELETE", f"{path}?{query}", {}, json_of(options))
    await connection.check("PATCH", path, {"Content-Type": MERGE_PATCH}, b'{"metadata":{"finalizers":null}}')
    await connection.check("DELETE", path, {}, b"")


POINTERS = st.one_of(
    st.sampled_from(["", "/", "/metadata", "/metadata/name", "/spec", "/spec/-", "/status", "/metadata/labels/a~1b"]),
    st.lists(st.sampled_from(["metadata", "labels", "a", "0", "-", "spec", "x~2", "~"]), max_size=4).map(
        lambda parts: "".join(f"/{part}" for part in parts)
    ),
)
OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]), "path": POINTERS},
    optional={"from": POINTERS, "value": TREES},
)
STRATEGIC = st.recursive(
    JUNK,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            NAMES
            | st.sampled_from(
                ["$patch", "$retainKeys", "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers"]
            )
            | st.sampled_from(["containers", "template", "finalizers", "ownerReferences", "selector", "volumes"]),
            inner | st.sampled_from(["delete", "replace", "merge"]),
            max_size=3,
        )
    ),
    max_leaves=8,
)


@fuzz
@given(data=st.data(), collection=st.sampled_from(list(COLLECTIONS)), parameters=PARAMETERS)
async def test_any_patch_is_applied_or_refused(
    connection: Connection, data: st.DataObject, collection: str, parameters: dict[str, str]
) -> None:
    """JSON patches, merge patches, strategic ones and applied configurations, on the object and on its status."""
    valid = document(collection, "patched")
    name = valid["metadata"]["name"]
    await connection.check("POST", collection, {}, json_of(valid))
    for _ in range(3):
        kind, body = data.draw(
            st.one_of(
                st.tuples(st.just(JSON_PATCH), st.lists(OPERATIONS, max_size=4) | TREES),
                st.tuples(st.just(MERGE_PATCH), TREES | mutated(valid)),
                st.tuples(st.just(STRATEGIC_PATCH), STRATEGIC | mutated(valid)),
                st.tuples(st.just(APPLY_PATCH), TREES | mutated(valid)),
            )
        )
        query = query_of({k: v for k, v in parameters.items() if k != "watch"})
        where = data.draw(st.sampled_from(["", "/status", "/scale"]))
        manager = "&fieldManager=m" if kind == APPLY_PATCH and data.draw(st.booleans()) else ""
        headers = {"Content-Type": kind}
        await connection.check("PATCH", f"{collection}/{name}{where}?{query}{manager}", headers, json_of(body))
    await connection.check("GET", collection, {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}, b"")


@fuzz
@given(
    content=st.one_of(
        st.binary(max_size=60),
        st.text(alphabet="{}[]:-&*!%\"'|>#\n \tab0.~<", max_size=40).map(str.encode),
        st.binary(max_size=40).map(lambda data: b"k8s\0" + data),
        st.sampled_from(
            [b"[" * 5000, b'{"a":' * 5000, b"- " * 5000, b"a: &a [*a]", b"&a [*a, *a]", b"? {}: {}", b"\xff\xfe"]
        ),
    ),
    content_type=CONTENT_TYPES,
    collection=st.sampled_from(list(COLLECTIONS)),
)
async def test_any_bytes_are_no_fault_of_the_server(
    connection: Connection, content: bytes, content_type: str, collection: str
) -> None:
    """Noise as JSON, YAML, protobuf and patches."""
    for method, target in (("POST", collection), ("PATCH", f"{collection}/a"), ("DELETE", f"{collection}/a")):
        await connection.check(method, target, {"Content-Type": content_type}, content)


HEADER_NAMES = st.sampled_from(
    ["Content-Length", "Transfer-Encoding", "Connection", "Expect", "Upgrade", "Authorization", "Host", "Accept", "X"]
)


@fuzz
@given(
    start=st.sampled_from([b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"GET / HTTP/1.0", b"GET", b"PRI * HTTP/2.0", b"\0"])
    | st.binary(max_size=20),
    headers=st.lists(
        st.tuples(
            HEADER_NAMES,
            st.sampled_from(
                ["0", "5", "-1", "99999999999", "chunked", "close", "keep-alive", "100-continue", "h2c", "*"]
            )
            | st.text(alphabet=st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=5),
        ),
        max_size=4,
    ),
    rest=st.binary(max_size=20),
    cut=st.integers(0, 60),
)
async def test_anything_on_a_connection_is_answered_or_the_connection_closed(
    local_server: Any, start: bytes, headers: list[tuple[str, str]], rest: bytes, cut: int
) -> None:
    """Half requests, requests that are none, headers that contradict each other; other connections do not notice."""
    reader, writer = await asyncio.open_connection("127.0.0.1", local_server.server.port)
    head = start + b"\r\n" + b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers) + b"\r\n"
    for piece in ((head + rest)[:cut], (head + rest)[cut:]):
        writer.write(piece)
        await asyncio.sleep(0)
    writer.write_eof()
    async with asyncio.timeout(ANSWER_S):
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
    assert not answer or answer.startswith(b"HTTP/1.1 "), answer
    assert b"HTTP/1.1 500" not in answer
    writer.close()
    other = Connection(local_server.server.port, local_server.token)
    assert await other.ask("GET", "/readyz", {}, b"") == (200, b"ok")
    await other.close()
